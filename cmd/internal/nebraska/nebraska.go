// Package nebraska tells a Nebraska, the update server of Flatcar for large
// fleets, of a release: it registers the package, and points the channel and
// with it the group of machines at it, through the HTTP API that Nebraska
// documents in backend/api/spec.yaml. What is there already is left alone, so
// that doing it again changes nothing.
//
// The package does not upload payloads: Nebraska tells machines where those
// are. It does not speak Omaha.
package nebraska

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// CoreOSApp is the application that update_engine asks for.
const CoreOSApp = "e96281a6-d1af-4bde-9a0a-97b76e56dc57"

// maxAnswer bounds an answer, in bytes.
const maxAnswer = 8 << 20

// Server is a Nebraska.
type Server struct {
	URL   string // such as "https://nebraska.example.net"
	Token string // of who publishes, for the header Authorization; "" sends none
	HTTP  *http.Client
	// DryRun asks, but changes nothing.
	DryRun bool
}

// StatusError is an answer that is none.
type StatusError struct {
	Method, Path string
	Code         int
	Text         string // what the server says to it, cut
}

// Error quotes what was asked and what came.
func (e *StatusError) Error() string {
	text := fmt.Sprintf("nebraska: %s %s: %d %s", e.Method, e.Path, e.Code, http.StatusText(e.Code))
	if e.Text != "" {
		text += fmt.Sprintf(": %q", e.Text)
	}
	return text
}

// Hint says what helps.
func (e *StatusError) Hint() string {
	switch e.Code {
	case http.StatusUnauthorized, http.StatusForbidden:
		return "--token-file FILE: the token of somebody with an administrator's role; it may have expired"
	case http.StatusNotFound, http.StatusBadRequest:
		return "--url is Nebraska's own address, without a path; --app names the application, by its id"
	}
	return "Nebraska's log says more"
}

// ErrRedirect says that the server sends elsewhere. The token is not taken
// there.
var ErrRedirect = errors.New("nebraska: sends elsewhere: give the address it is at")

// do asks, and reads the answer into one; nil leaves it unread.
func (s *Server) do(ctx context.Context, method, path string, body, answer any) error {
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("internal error: %w", err)
		}
		content = bytes.NewReader(text)
	}
	q, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(s.URL, "/")+path, content)
	if err != nil {
		return fmt.Errorf("nebraska: %w", err)
	}
	q.Header.Set("Accept", "application/json")
	if body != nil {
		q.Header.Set("Content-Type", "application/json")
	}
	if s.Token != "" {
		q.Header.Set("Authorization", "Bearer "+s.Token)
	}
	client := *s.HTTP
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	r, err := client.Do(q)
	if err != nil {
		return fmt.Errorf("nebraska: %w", err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(io.LimitReader(r.Body, maxAnswer+1))
	switch {
	case err != nil:
		return fmt.Errorf("nebraska: %s %s: %w", method, path, err)
	case r.StatusCode >= 300 && r.StatusCode < 400:
		return ErrRedirect
	case r.StatusCode != http.StatusOK:
		return &StatusError{method, path, r.StatusCode, strings.TrimSpace(fmt.Sprintf("%.200s", text))}
	case len(text) > maxAnswer:
		return fmt.Errorf("nebraska: %s %s: more than %d bytes", method, path, maxAnswer)
	case answer == nil:
		return nil
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return fmt.Errorf("nebraska: %s %s: %w: is it a Nebraska?", method, path, err)
	}
	return nil
}

// change is do for what changes something.
func (s *Server) change(ctx context.Context, method, path string, body, answer any) error {
	if s.DryRun {
		return nil
	}
	return s.do(ctx, method, path, body, answer)
}

// application is what there is of an application.
type application struct {
	ID       string    `json:"id"`
	Name     string    `json:"name"`
	Channels []channel `json:"channels"`
	Groups   []group   `json:"groups"`
}

type channel struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	Color     string `json:"color"`
	Arch      int    `json:"arch"`
	PackageID string `json:"package_id"`
}

// group is machines that are updated together: those with its track.
type group struct {
	ID             string   `json:"id"`
	Name           string   `json:"name"`
	Track          string   `json:"track"`
	ChannelID      string   `json:"channel_id"`
	Channel        *channel `json:"channel"`
	UpdatesEnabled bool     `json:"policy_updates_enabled"`
}

// pack is a package.
type pack struct {
	ID       string  `json:"id"`
	Type     int     `json:"type"`
	Version  string  `json:"version"`
	URL      string  `json:"url"`
	Filename string  `json:"filename"`
	Size     string  `json:"size"`
	Hash     string  `json:"hash"`
	Arch     int     `json:"arch"`
	Action   *action `json:"flatcar_action"`
	// Blacklist are channels that somebody keeps from pointing here.
	Blacklist []string `json:"channels_blacklist"`
}

type action struct {
	ID     string `json:"id,omitempty"`
	SHA256 string `json:"sha256"`
}

// application finds an application.
func (s *Server) application(ctx context.Context, id string) (*application, error) {
	a := new(application)
	return a, s.do(ctx, http.MethodGet, appPath(id), nil, a)
}

func appPath(id string, more ...string) string {
	path := "/api/apps/" + url.PathEscape(id)
	for _, m := range more {
		path += "/" + url.PathEscape(m)
	}
	return path
}

// perPage is how many packages are asked for at a time.
const perPage = 50

// pack finds the package of a version, nil if there is none.
func (s *Server) pack(ctx context.Context, app, version string, arch int) (*pack, error) {
	for page, seen := 1, 0; ; page++ {
		var list struct {
			Total    int    `json:"totalCount"`
			Packages []pack `json:"packages"`
		}
		query := url.Values{"page": {fmt.Sprint(page)}, "perpage": {fmt.Sprint(perPage)}, "searchVersion": {version}}
		if err := s.do(ctx, http.MethodGet, appPath(app, "packages")+"?"+query.Encode(), nil, &list); err != nil {
			return nil, err
		}
		for i := range list.Packages {
			if p := &list.Packages[i]; p.Version == version && p.Arch == arch {
				return p, nil
			}
		}
		if seen += len(list.Packages); len(list.Packages) == 0 || seen >= list.Total {
			return nil, nil
		}
	}
}
