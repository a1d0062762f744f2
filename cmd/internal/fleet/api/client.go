package api

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

// Client asks a server.
type Client struct {
	HTTP *http.Client
	// URL is where the API is, such as "http://127.0.0.1:49153"; for a client
	// that dials a socket any host will do.
	URL string
}

// maxAnswer bounds an answer, in bytes: a page of units of the greatest size.
const maxAnswer = 128 << 20

// IsNotFound says whether an error is that there is no such thing.
func IsNotFound(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == http.StatusNotFound
}

// do sends a request and reads the answer into value, unless it is nil.
func (c *Client) do(ctx context.Context, method, path string, body, value any) error {
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.URL, "/")+path, content)
	if err != nil {
		return err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return cause(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return cause(err)
	}
	if resp.StatusCode >= 300 {
		return readError(resp, text)
	}
	if value == nil {
		return nil
	}
	if err := json.Unmarshal(text, value); err != nil {
		return fmt.Errorf("answer of %s: %w", c.URL, err)
	}
	return nil
}

// cause takes off what is only said for programmers.
func cause(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

func readError(resp *http.Response, text []byte) error {
	var d errorDocument
	if err := json.Unmarshal(text, &d); err != nil || d.Error.Code == 0 {
		return &Error{resp.StatusCode, resp.Status}
	}
	if d.Error.Message == "" {
		d.Error.Message = resp.Status
	}
	return &d.Error
}

const base = "/fleet/v1"

// list reads all pages; read reads one and gives the token of the next.
func list(read func(query string) (next string, err error)) error {
	query := ""
	for {
		next, err := read(query)
		if err != nil || next == "" {
			return err
		}
		query = "?nextPageToken=" + url.QueryEscape(next)
	}
}

// Units lists all units.
func (c *Client) Units(ctx context.Context) (all []*Unit, err error) {
	err = list(func(query string) (string, error) {
		var page UnitPage
		err := c.do(ctx, http.MethodGet, base+"/units"+query, nil, &page)
		all = append(all, page.Units...)
		return page.NextPageToken, err
	})
	return all, err
}

// Unit reads a unit; nil if there is none.
func (c *Client) Unit(ctx context.Context, name string) (*Unit, error) {
	u := &Unit{}
	err := c.do(ctx, http.MethodGet, base+"/units/"+url.PathEscape(name), nil, u)
	if IsNotFound(err) {
		return nil, nil
	}
	return u, err
}

// SetUnit creates or changes a unit.
func (c *Client) SetUnit(ctx context.Context, u *Unit) error {
	return c.do(ctx, http.MethodPut, base+"/units/"+url.PathEscape(u.Name), u, nil)
}

// DestroyUnit removes a unit.
func (c *Client) DestroyUnit(ctx context.Context, name string) error {
	return c.do(ctx, http.MethodDelete, base+"/units/"+url.PathEscape(name), nil, nil)
}

// States lists how units are on machines.
func (c *Client) States(ctx context.Context) (all []*UnitState, err error) {
	err = list(func(query string) (string, error) {
		var page UnitStatePage
		err := c.do(ctx, http.MethodGet, base+"/state"+query, nil, &page)
		all = append(all, page.States...)
		return page.NextPageToken, err
	})
	return all, err
}

// State reads how a unit is.
func (c *Client) State(ctx context.Context, name string) (*UnitState, error) {
	s := &UnitState{}
	return s, c.do(ctx, http.MethodGet, base+"/state/"+url.PathEscape(name), nil, s)
}

// Machines lists the machines that are present.
func (c *Client) Machines(ctx context.Context) (all []*Machine, err error) {
	err = list(func(query string) (string, error) {
		var page MachinePage
		err := c.do(ctx, http.MethodGet, base+"/machines"+query, nil, &page)
		all = append(all, page.Machines...)
		return page.NextPageToken, err
	})
	return all, err
}

// Drain starts the draining of the machine that the server runs on, or ends
// it.
func (c *Client) Drain(ctx context.Context, draining bool) (*Draining, error) {
	method := http.MethodDelete
	if draining {
		method = http.MethodPut
	}
	d := &Draining{}
	return d, c.do(ctx, method, DrainPath, nil, d)
}

// Drained says how far the draining is.
func (c *Client) Drained(ctx context.Context) (*Draining, error) {
	d := &Draining{}
	return d, c.do(ctx, http.MethodGet, DrainPath, nil, d)
}
