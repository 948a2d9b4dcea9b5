package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// Export writes a session as JSON lines to w: all events that it has now, with
// what says that the file is whole. It returns how many bytes it wrote. A copy that
// breaks off is an error, and is not repeated; its file is refused by Import.
func (c *Client) Export(ctx context.Context, session string, w io.Writer) (int64, error) {
	p := path("v1", "sessions", session, "export")
	req, err := c.request(ctx, http.MethodGet, p, nil, nil)
	if err != nil {
		return 0, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, fmt.Errorf("GET %s: %w", p, &lostError{err})
	}
	defer resp.Body.Close() //nolint:errcheck // nothing was written
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("GET %s: %w", p, readError(resp))
	}
	n, err := io.Copy(w, resp.Body)
	if err != nil {
		return n, fmt.Errorf("GET %s: the export broke off after %d bytes: %w", p, n, err)
	}
	return n, nil
}

// Imported is a session that was made of a file.
type Imported struct {
	ID  string `json:"id"`
	Seq uint64 `json:"seq"` // its newest event
}

// Import makes a session of a file that Export wrote, event for event the same; id
// "" is the one in the file. The same file again changes nothing, so that a caller
// may repeat what broke off; this function does not, since r is read once.
func (c *Client) Import(ctx context.Context, id string, r io.Reader) (*Imported, error) {
	query := url.Values{}
	if id != "" {
		query.Set("id", id)
	}
	p := path("v1", "sessions", "import")
	req, err := c.request(ctx, http.MethodPost, p, query, nil)
	if err != nil {
		return nil, err
	}
	req.Body, req.ContentLength = io.NopCloser(r), -1
	req.Header.Set("Content-Type", "application/x-ndjson")
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("POST %s: %w", p, &lostError{err})
	}
	defer resp.Body.Close() //nolint:errcheck // nothing is left to write
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, fmt.Errorf("POST %s: %w", p, readError(resp))
	}
	var out Imported
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&out); err != nil {
		return nil, fmt.Errorf("POST %s: the answer cannot be read: %w", p, err)
	}
	return answer(&out, out.ID, "id", nil)
}
