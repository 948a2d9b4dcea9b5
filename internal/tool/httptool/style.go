package httptool

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// The styles of parameters, OpenAPI 3.1 section 4.8.12.3, which are expansions of
// RFC 6570.

func decodeValue(raw json.RawMessage) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	return v, d.Decode(&v)
}

// textOf is a value without parts as text; of what has parts, JSON.
func textOf(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		if v {
			return "true"
		}
		return "false"
	}
	return jsonText(v)
}

// parts returns the values of a list or, as name and value in turn, of an
// object, each escaped; simple is false for them.
func parts(v any, escape func(string) string) (list []string, object, simple bool) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			list = append(list, escape(textOf(e)))
		}
		return list, false, false
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			list = append(list, escape(k), escape(textOf(v[k])))
		}
		return list, true, false
	}
	return []string{escape(textOf(v))}, false, true
}

// pairs joins names and values that stand in turn.
func pairs(list []string) (out []string) {
	for i := 0; i+1 < len(list); i += 2 {
		out = append(out, list[i]+"="+list[i+1])
	}
	return out
}

// simple is the style of the same name: values with commas between.
func (p *parameter) simple(v any, escape func(string) string) string {
	if p.asJSON {
		return escape(jsonText(v))
	}
	list, object, _ := parts(v, escape)
	if object && p.explode {
		list = pairs(list)
	}
	return strings.Join(list, ",")
}

func (p *parameter) inPath(v any) string {
	if p.asJSON || p.style == "simple" {
		return p.simple(v, url.PathEscape)
	}
	list, object, simple := parts(v, url.PathEscape)
	if object && p.explode {
		list = pairs(list)
	}
	if p.style == "label" {
		if p.explode {
			return "." + strings.Join(list, ".")
		}
		return "." + strings.Join(list, ",")
	}
	name := url.PathEscape(p.name)
	switch {
	case simple || !p.explode:
		return ";" + name + "=" + strings.Join(list, ",")
	case object:
		return ";" + strings.Join(list, ";")
	}
	return ";" + name + "=" + strings.Join(list, ";"+name+"=")
}

// inQuery returns the parts of a query or a cookie.
func (p *parameter) inQuery(v any) []string {
	name := url.QueryEscape(p.name)
	if p.asJSON {
		return []string{name + "=" + p.escapeQuery(jsonText(v))}
	}
	list, object, simple := parts(v, p.escapeQuery)
	switch {
	case simple:
		return []string{name + "=" + list[0]}
	case p.style == "deepObject":
		if !object {
			return prefixed(name+"=", list)
		}
		var out []string
		for i := 0; i+1 < len(list); i += 2 {
			out = append(out, name+"["+list[i]+"]="+list[i+1])
		}
		return out
	case p.explode && object:
		return pairs(list)
	case p.explode:
		return prefixed(name+"=", list)
	}
	separator := map[string]string{"spaceDelimited": "%20", "pipeDelimited": "%7C"}[p.style]
	if separator == "" {
		separator = ","
	}
	return []string{name + "=" + strings.Join(list, separator)}
}

func prefixed(prefix string, list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = prefix + s
	}
	return out
}

func jsonText(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		return "" // what was decoded from JSON can be encoded
	}
	return string(raw)
}

// unreserve gives back what allowReserved leaves alone. What would end the value
// stays escaped.
var unreserve = strings.NewReplacer("%3A", ":", "%2F", "/", "%3F", "?", "%5B", "[", "%5D", "]", "%40", "@",
	"%21", "!", "%24", "$", "%27", "'", "%28", "(", "%29", ")", "%2A", "*", "%2C", ",", "%3B", ";", "%3D", "=")

func (p *parameter) escapeQuery(s string) string {
	s = url.QueryEscape(s)
	if p.reserved {
		s = unreserve.Replace(s)
	}
	return s
}
