package builtin

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// dropped are elements whose content is not for readers.
var dropped = []atom.Atom{
	atom.Script, atom.Style, atom.Noscript, atom.Template, atom.Svg, atom.Iframe, atom.Object, atom.Head,
	atom.Button, atom.Select, atom.Textarea, atom.Nav, atom.Canvas,
}

// blocks are elements that stand on lines of their own.
var blocks = []atom.Atom{
	atom.P, atom.Div, atom.Section, atom.Article, atom.Main, atom.Header, atom.Footer, atom.Aside, atom.Ul, atom.Ol,
	atom.Dl, atom.Dt, atom.Dd, atom.Table, atom.Blockquote, atom.Pre, atom.Figure, atom.Figcaption, atom.Form,
	atom.Fieldset, atom.H1, atom.H2, atom.H3, atom.H4, atom.H5, atom.H6, atom.Details, atom.Summary, atom.Address,
}

// htmlText turns a page into text for a model: plain, or with the marks of
// Markdown. Links are resolved against base. The parser refuses what is nested
// deeper than 512 elements, which bounds the recursion here.
func htmlText(page string, base *url.URL, markdown bool) (string, error) {
	doc, err := html.Parse(strings.NewReader(page))
	if err != nil {
		return "", fmt.Errorf("reading the HTML of the page: %w", err)
	}
	w := &htmlWriter{base: base, markdown: markdown}
	if title := pageTitle(doc); title != "" {
		w.block(1)
		w.mark("# ")
		w.text(title)
		w.block(2)
	}
	w.node(doc)
	return strings.TrimSpace(w.out.String()), nil
}

func pageTitle(doc *html.Node) string {
	for n := range doc.Descendants() {
		if n.DataAtom == atom.Title && n.FirstChild != nil {
			return strings.Join(strings.Fields(n.FirstChild.Data), " ")
		}
		if n.DataAtom == atom.Body {
			break
		}
	}
	return ""
}

type htmlWriter struct {
	out      strings.Builder
	base     *url.URL
	markdown bool

	breaks  int  // line breaks that come before the next text
	space   bool // a space that comes before the next text
	pre     int  // depth of pre elements
	list    int  // depth of lists
	ordered []int
}

// block asks for at least n line breaks before the next text.
func (w *htmlWriter) block(n int) { w.breaks, w.space = max(w.breaks, n), false }

func (w *htmlWriter) flush() {
	if w.breaks > 0 {
		if w.out.Len() > 0 {
			w.out.WriteString(strings.Repeat("\n", w.breaks))
		}
	} else if w.space && w.out.Len() > 0 {
		w.out.WriteByte(' ')
	}
	w.breaks, w.space = 0, false
}

func (w *htmlWriter) text(s string) {
	if w.pre > 0 {
		if s != "" {
			w.flush()
			w.out.WriteString(s)
		}
		return
	}
	words := strings.Fields(s)
	if len(words) == 0 {
		w.space = w.space || s != ""
		return
	}
	w.space = w.space || strings.ContainsAny(s[:1], " \t\r\n")
	w.flush()
	w.out.WriteString(strings.Join(words, " "))
	w.space = strings.ContainsAny(s[len(s)-1:], " \t\r\n")
}

// mark writes a mark of Markdown.
func (w *htmlWriter) mark(s string) {
	if w.markdown {
		w.flush()
		w.out.WriteString(s)
	}
}

func (w *htmlWriter) children(n *html.Node) {
	for c := range n.ChildNodes() {
		w.node(c)
	}
}

func (w *htmlWriter) node(n *html.Node) {
	switch {
	case n.Type == html.TextNode:
		w.text(n.Data)
		return
	case n.Type != html.ElementNode:
		w.children(n)
		return
	case slices.Contains(dropped, n.DataAtom), hasAttribute(n, "hidden"):
		return
	}
	if slices.Contains(blocks, n.DataAtom) {
		distance := 2
		if w.list > 0 || n.DataAtom == atom.Dt || n.DataAtom == atom.Dd {
			distance = 1
		}
		w.block(distance)
		defer w.block(distance)
	}
	switch n.DataAtom {
	case atom.H1, atom.H2, atom.H3, atom.H4, atom.H5, atom.H6:
		w.mark(strings.Repeat("#", int(n.Data[1]-'0')) + " ")
		w.children(n)
		w.block(2)
	case atom.Br:
		w.block(1)
	case atom.Hr:
		w.block(2)
		w.mark("---")
		w.block(2)
	case atom.A:
		w.link(n)
	case atom.Img:
		if alt := attribute(n, "alt"); alt != "" {
			w.flush()
			fmt.Fprintf(&w.out, "[image: %s]", strings.Join(strings.Fields(alt), " "))
		}
	case atom.Strong, atom.B:
		w.wrap("**", n)
	case atom.Em, atom.I:
		w.wrap("*", n)
	case atom.Code:
		if w.pre > 0 {
			w.children(n)
		} else {
			w.wrap("`", n)
		}
	case atom.Pre:
		w.mark("```\n")
		w.pre++
		w.children(n)
		w.pre--
		if w.markdown {
			w.out.WriteString("\n```")
		}
		w.block(2)
	case atom.Blockquote:
		w.mark("> ")
		w.children(n)
	case atom.Ul, atom.Ol:
		w.list++
		w.ordered = append(w.ordered, 0)
		if n.DataAtom == atom.Ul {
			w.ordered[len(w.ordered)-1] = -1
		}
		w.children(n)
		w.ordered = w.ordered[:len(w.ordered)-1]
		w.list--
		if w.list == 0 {
			w.block(2)
		}
	case atom.Li:
		w.item(n)
	case atom.Tr:
		w.block(1)
		w.children(n)
		w.block(1)
	case atom.Td, atom.Th:
		w.flush()
		w.children(n)
		if n.NextSibling != nil {
			w.text(" | ")
		}
	default:
		w.children(n)
	}
}

func (w *htmlWriter) item(n *html.Node) {
	w.block(1)
	w.flush()
	bullet := "- "
	if len(w.ordered) > 0 {
		if i := &w.ordered[len(w.ordered)-1]; *i >= 0 {
			*i++
			bullet = fmt.Sprintf("%d. ", *i)
		}
	}
	w.out.WriteString(strings.Repeat("  ", max(w.list-1, 0)) + bullet)
	w.children(n)
	w.block(1)
}

// wrap puts a mark around text, if there is any.
func (w *htmlWriter) wrap(mark string, n *html.Node) {
	if !w.markdown || !hasText(n) {
		w.children(n)
		return
	}
	w.mark(mark)
	w.children(n)
	space := w.space
	w.space = false
	w.mark(mark)
	w.space = space
}

func (w *htmlWriter) link(n *html.Node) {
	target := attribute(n, "href")
	u, err := w.base.Parse(target)
	if !w.markdown || err != nil || target == "" || strings.HasPrefix(target, "#") || (u.Scheme != "http" && u.Scheme != "https") || !hasText(n) {
		w.children(n)
		return
	}
	w.mark("[")
	w.children(n)
	space := w.space
	w.breaks, w.space = 0, false
	w.mark("](" + u.String() + ")")
	w.space = space
}

func hasText(n *html.Node) bool {
	for d := range n.Descendants() {
		if d.Type == html.TextNode && strings.TrimSpace(d.Data) != "" {
			return true
		}
	}
	return false
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name && a.Namespace == "" {
			return strings.TrimSpace(a.Val)
		}
	}
	return ""
}

func hasAttribute(n *html.Node, name string) bool {
	return slices.ContainsFunc(n.Attr, func(a html.Attribute) bool { return a.Key == name })
}
