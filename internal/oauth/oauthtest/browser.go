package oauthtest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
)

// Browse opens a URL as a user's browser would, follows its redirects, and
// returns the URL to which it is sent at last that begins with stop, unopened.
// It keeps cookies and clicks on nothing.
func Browse(ctx context.Context, at, stop string) (*url.URL, error) {
	var reached *url.URL
	cookies, err := cookiejar.New(nil)
	if err != nil {
		return nil, fmt.Errorf("the browser has no cookies: %w", err)
	}
	client := &http.Client{Jar: cookies, CheckRedirect: func(req *http.Request, via []*http.Request) error {
		if strings.HasPrefix(req.URL.String(), stop) {
			reached = req.URL
			return http.ErrUseLastResponse
		}
		if len(via) > 10 {
			return errors.New("the browser is redirected too often")
		}
		return nil
	}}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("the browser cannot open the URL: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("the browser: %w", err)
	}
	_ = resp.Body.Close() // only where it was sent counts
	if reached == nil {
		return nil, fmt.Errorf("the browser ended at %s with HTTP %d", resp.Request.URL.Redacted(), resp.StatusCode)
	}
	return reached, nil
}
