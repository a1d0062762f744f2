package download

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	dialTimeout   = 30 * time.Second
	headerTimeout = 90 * time.Second
	maxRedirects  = 10
)

// NewClient makes a client for update servers: no compression, no connection
// that waits for ever, redirects only where they make nothing less safe.
func NewClient() *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DisableCompression = true
	t.DialContext = (&net.Dialer{Timeout: dialTimeout}).DialContext
	t.TLSHandshakeTimeout = dialTimeout
	t.ResponseHeaderTimeout = headerTimeout
	t.MaxResponseHeaderBytes = 64 << 10
	t.MaxIdleConns, t.IdleConnTimeout = 2, dialTimeout
	return &http.Client{Transport: t, CheckRedirect: checkRedirect}
}

// checkRedirect follows a server that sends elsewhere for a file, but never
// from TLS to plain HTTP.
func checkRedirect(next *http.Request, via []*http.Request) error {
	if len(via) >= maxRedirects {
		return fmt.Errorf("more than %d redirects", maxRedirects)
	}
	last := via[len(via)-1]
	if last.URL.Scheme == "https" && next.URL.Scheme != "https" {
		return fmt.Errorf("redirect from https to %s://%s refused", next.URL.Scheme, next.URL.Host)
	}
	return nil
}

// connection is the body of one answer, under watch.
type connection struct {
	body   io.ReadCloser
	cancel context.CancelCauseFunc
	ctx    context.Context
	// framed says that a body's end is the server's word, not a lost connection.
	framed bool

	// What came while the reader waited, and how long that was: a reader that
	// is busy elsewhere is not the server's fault.
	patience Patience
	timer    *time.Timer // runs while the reader waits
	waited   time.Duration
	got      int64
}

// connect asks for the file from the stream's offset on.
func (s *Stream) connect() (_ *connection, err error) {
	url := s.f.URLs[s.url]
	ctx, cancel := context.WithCancelCause(s.ctx)
	c := &connection{ctx: ctx, cancel: cancel, patience: s.f.Patience}
	c.timer = time.AfterFunc(s.f.Patience.Window, func() { cancel(c.slow()) })
	defer func() {
		if err != nil {
			err = c.why(err)
			c.close()
		}
	}()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	q.Header.Set("Accept-Encoding", "identity")
	if s.offset > 0 {
		q.Header.Set("Range", fmt.Sprintf("bytes=%d-", s.offset))
	}
	r, err := s.f.Client.Do(q)
	if err != nil {
		return nil, err
	}
	c.body = r.Body
	c.framed = r.ProtoMajor > 1 || slices.Contains(r.TransferEncoding, "chunked")
	c.timer.Stop()
	return c, s.accept(c, r, url)
}

// accept checks an answer and brings its body to the stream's offset.
func (s *Stream) accept(c *connection, r *http.Response, url string) error {
	size, skip := int64(-1), int64(0)
	switch r.StatusCode {
	case http.StatusPartialContent:
		start, total, ok := contentRange(r.Header.Get("Content-Range"))
		if !ok || start != s.offset {
			return fmt.Errorf("%s: content range %.80q, asked for %d", url, r.Header.Get("Content-Range"), s.offset)
		}
		size = total
	case http.StatusOK:
		// A server without ranges, or one that saw no need: what is known is
		// read again.
		size, skip = r.ContentLength, s.offset
	default:
		return &StatusError{URL: url, Code: r.StatusCode, RetryAfter: RetryAfter(r.Header)}
	}
	if size >= 0 && size != s.f.Size {
		return &SizeError{URL: url, Want: s.f.Size, Got: size}
	}
	etag := r.Header.Get("ETag")
	if s.offset > 0 && s.etag != "" && etag != "" && etag != s.etag && len(s.f.URLs) == 1 {
		return fmt.Errorf("%s: %w", url, ErrChanged)
	}
	s.etag = etag
	n, err := io.CopyN(io.Discard, c, skip)
	s.received += n
	return err
}

func (c *connection) slow() error {
	return fmt.Errorf("less than %d bytes in %s: %w", c.patience.MinBytes, c.patience.Window, ErrSlow)
}

// Read reads on, while the window lasts.
func (c *connection) Read(p []byte) (int, error) {
	c.timer.Reset(c.patience.Window)
	start := time.Now()
	n, err := c.body.Read(p)
	c.timer.Stop()
	c.waited += time.Since(start)
	c.got += int64(n)
	if c.waited >= c.patience.Window {
		if c.got < c.patience.MinBytes {
			c.cancel(c.slow())
			err = c.slow()
		}
		c.waited, c.got = 0, 0
	}
	if err != nil && err != io.EOF {
		err = c.why(err)
	}
	return n, err
}

// why is the reason of an error: who ended a connection knows better than who
// reads from it.
func (c *connection) why(err error) error {
	if cause := context.Cause(c.ctx); cause != nil {
		return cause
	}
	return err
}

func (c *connection) close() {
	c.timer.Stop()
	c.cancel(errors.New("closed"))
	if c.body != nil {
		_ = c.body.Close() // nobody reads on
	}
}

// contentRange reads "bytes FIRST-LAST/SIZE" (RFC 9110, 14.4).
func contentRange(text string) (start, size int64, ok bool) {
	text, isBytes := strings.CutPrefix(text, "bytes ")
	span, total, hasTotal := strings.Cut(text, "/")
	first, _, hasLast := strings.Cut(span, "-")
	start, err := strconv.ParseInt(first, 10, 64)
	size, err2 := strconv.ParseInt(total, 10, 64)
	return start, size, isBytes && hasTotal && hasLast && err == nil && err2 == nil && start >= 0 && size >= 0
}

// RetryAfter is what a server's header of that name asks for, at most a day, 0 if
// nothing. A date is passed over, for the clock may be wrong.
func RetryAfter(h http.Header) time.Duration {
	n, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || n < 0 {
		return 0
	}
	return time.Duration(min(n, 24*3600)) * time.Second
}
