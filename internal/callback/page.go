package callback

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
)

// ResultPath is below which the pages are: /{result}.
const ResultPath = "/oauth/done"

// Result is what a user is told in the end.
type Result string

// The results. Expired is also for what was never there or has been used: a page
// does not tell these apart.
const (
	Success Result = "success"
	Denied  Result = "denied"
	Expired Result = "expired"
	Busy    Result = "busy" // not below ResultPath
)

// style is small enough for every page to bring it along.
const style = `:root{color-scheme:light dark}*{box-sizing:border-box}body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1.5rem;font:1.0625rem/1.5 system-ui,sans-serif;background:Canvas;color:CanvasText}main{max-width:26rem;width:100%;text-align:center}.mark{width:4rem;height:4rem;margin:0 auto 1.25rem;border-radius:50%;display:grid;place-items:center;font-size:2rem;border:.2rem solid currentColor}.success .mark{color:#1a7f37}.denied .mark,.expired .mark,.busy .mark{color:#9a6700}h1{font-size:1.375rem;line-height:1.25;margin:0 0 .5rem}p{margin:.5rem 0}`

// policy allows the style by its hash and nothing else.
var policy = func() string {
	sum := sha256.Sum256([]byte(style))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}()

var page = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{{.Title}}</title>
<style>{{.Style}}</style>
</head>
<body>
<main class="{{.Class}}">
<div class="mark" aria-hidden="true">{{.Mark}}</div>
<h1>{{.Title}}</h1>
<p>{{.Text}}</p>
<p>{{.Then}}</p>
</main>
</body>
</html>
`))

type words struct {
	Title, Text, Then, Mark, Class string
	Style                          template.CSS
}

const closing = "You may close this window."

var results = map[Result]words{
	Success: {Title: "Access was granted", Text: "Your agent goes on by itself.", Then: closing, Mark: "✓"},
	Denied:  {Title: "Access was not granted", Text: "Nothing was shared with your agent. It is told so.", Then: closing, Mark: "–"},
	Expired: {Title: "This link is no longer valid", Text: "It has been used or has expired, or it was opened in another browser than it was made for. If you have just granted access, all is well.", Then: "Otherwise start again from your agent. You may close this window.", Mark: "!"},
	Busy:    {Title: "Please try again in a moment", Text: "The service cannot take your answer right now. Nothing was lost.", Then: "Reload this page in a few seconds.", Mark: "…"},
}

// Page writes a page that needs nothing else: no script, no image, no font. It
// sets the headers that keep it out of frames, caches and referrers.
func Page(w http.ResponseWriter, status int, result Result) {
	d := results[result]
	d.Class, d.Style = string(result), template.CSS(style) //nolint:gosec // a constant
	var body bytes.Buffer
	if err := page.Execute(&body, d); err != nil {
		panic(fmt.Sprintf("callback: page %s: %v", result, err)) // fixed words always fit
	}
	harden(w.Header())
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes()) // a browser that is gone is nobody's error
}
