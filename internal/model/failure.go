package model

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"unicode"

	holdfast "github.com/holdfast-run/holdfast"
)

// Failure is what a provider said of a call that failed, as an adapter read it
// from an answer or from an event in the stream.
type Failure struct {
	Provider string // as errors name it: "openai"
	Status   int    // of the answer, 0 for an event in the stream
	Header   http.Header
	// Code classifies the failure, where the provider's own words do; "" lets the
	// status decide.
	Code holdfast.Code
	// Message is the provider's explanation. It reaches the tenant, cleaned, only
	// for failures that the tenant can do something about.
	Message string
	// Final says that repeating the call cannot help although the code or status
	// would say so: an exhausted quota, for example.
	Final bool
	// Secrets must not appear in what is shown.
	Secrets []string
}

// statusCode is the code of an HTTP status from 400 on.
func statusCode(status int) holdfast.Code {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return holdfast.CodeModelAuth
	case http.StatusTooManyRequests, http.StatusPaymentRequired:
		return holdfast.CodeModelRate
	case http.StatusRequestEntityTooLarge:
		return holdfast.CodeModelContext
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusTooEarly:
		return holdfast.CodeModelFailed
	}
	if status >= 400 && status < 500 {
		return holdfast.CodeInvalid
	}
	return holdfast.CodeModelFailed
}

// Err is the error that an attempt returns: with a code, fit for a tenant, and
// marked [Transient] if the call may be repeated.
func (f Failure) Err() error {
	code := f.Code
	if code == "" {
		code = statusCode(f.Status)
	}
	text := ""
	switch code {
	case holdfast.CodeModelAuth:
		// What a provider says here tends to quote the key.
		text = "%s refused the API key or does not allow it this model"
	case holdfast.CodeModelRate:
		text = "%s limits the rate of requests or its quota is used up"
	case holdfast.CodeModelContext:
		text = "the conversation does not fit the model's context window, says %s"
	case holdfast.CodeModelFilter:
		text = "the content filter of %s refused the request"
	case holdfast.CodeInvalid:
		text = "%s refused the request"
	default:
		code, text = holdfast.CodeModelFailed, "%s failed"
	}
	text = fmt.Sprintf(text, f.Provider)
	if f.Status != 0 {
		text += fmt.Sprintf(" (status %d)", f.Status)
	}
	if m := PublicText(f.Message, f.Secrets...); m != "" && code != holdfast.CodeModelAuth {
		text += ": " + m
	}
	err := holdfast.Errorf(code, "%s", text)
	retry := code == holdfast.CodeModelRate || code == holdfast.CodeModelFailed
	switch f.Header.Get("X-Should-Retry") {
	case "true":
		retry = true
	case "false":
		retry = false
	}
	if f.Status == http.StatusPaymentRequired || f.Final || !retry {
		return err
	}
	return &Transient{Err: err, After: RetryAfter(f.Header)}
}

// publicText is how much of a provider's words is shown, in bytes.
const publicText = 400

var keyLike = regexp.MustCompile(`(?i)\b(?:bearer\s+\S+|(?:sk|pk|rk|xai|key|api[-_]?key|AIza|AKIA)[-_=][\w\-*.]{6,})`)

// PublicText cleans a provider's words for a tenant: one line, no control
// characters, no markup, at most 400 bytes, and neither the given secrets nor
// anything that looks like a key.
func PublicText(s string, secrets ...string) string {
	s = strings.TrimSpace(s)
	if strings.HasPrefix(s, "<") {
		return "" // a proxy's error page
	}
	for _, secret := range secrets {
		if secret != "" {
			s = strings.ReplaceAll(s, secret, "[redacted]")
		}
	}
	s = keyLike.ReplaceAllString(s, "[redacted]")
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > publicText {
		s = strings.ToValidUTF8(s[:publicText], "") + "…"
	}
	return s
}
