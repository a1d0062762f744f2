package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// transport gives file URLs a handler of their own and everything else to rt.
func transport(rt http.RoundTripper, jobs int) http.RoundTripper {
	if rt == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.MaxIdleConnsPerHost = jobs
		// A body must arrive as it is stored, or digests and ranges are void.
		t.DisableCompression = true
		rt = t
	}
	return &schemes{file: http.NewFileTransport(http.Dir("/")), other: rt}
}

type schemes struct{ file, other http.RoundTripper }

func (s *schemes) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme == "file" {
		return s.file.RoundTrip(r)
	}
	return s.other.RoundTrip(r)
}

// redirectError is a redirection that is not followed.
type redirectError struct{ to, why string }

func (e *redirectError) Error() string {
	return fmt.Sprintf("redirected to %s: %s", shown(e.to), e.why)
}

// checkRedirect keeps a mirror from sending us to this machine's files, out of
// encryption, or round in circles.
func checkRedirect(r *http.Request, via []*http.Request) error {
	to := r.URL.String()
	switch from := via[len(via)-1].URL.Scheme; {
	case r.URL.Scheme != "https" && r.URL.Scheme != "http":
		return &redirectError{to, "only http and https are followed"}
	case from == "https" && r.URL.Scheme == "http":
		return &redirectError{to, "that is not encrypted any more"}
	case len(via) >= 10:
		return &redirectError{to, "that is the tenth time"}
	}
	return nil
}

// escape makes a URL path of a file name.
func escape(name string) string { return (&url.URL{Path: name}).EscapedPath() }

// shown is a URL for messages: without a password.
func shown(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return raw
	}
	return u.Redacted()
}

// StallError says that a server stopped sending.
type StallError struct {
	URL             string
	Received, Total int64 // bytes; Total is -1 if unknown
	After           time.Duration
}

// Error says how far it got and for how long nothing came.
func (e *StallError) Error() string {
	of := ""
	if e.Total >= 0 {
		of = fmt.Sprintf(" of %d", e.Total)
	}
	return fmt.Sprintf("%s: %d%s bytes received, then nothing for %s", shown(e.URL), e.Received, of, e.After)
}

// Hint says what helps.
func (e *StallError) Hint() string {
	return "run the command again to go on from there, or use a nearer mirror (--mirror URL)"
}

// statusError is an answer other than the file.
type statusError struct {
	url    string
	code   int
	status string
}

func (e *statusError) Error() string { return fmt.Sprintf("%s: %s", shown(e.url), e.status) }

// Hint is what the user can do.
func (e *statusError) Hint() string { return "--mirror URL names another mirror" }

// lasting says whether asking again is pointless.
func lasting(err error) bool {
	var redirect *redirectError
	if errors.As(err, &redirect) {
		return true
	}
	var status *statusError
	return errors.As(err, &status) && status.code < 500 &&
		status.code != http.StatusRequestTimeout && status.code != http.StatusTooManyRequests
}

func notFound(err error) bool {
	var status *statusError
	return errors.As(err, &status) && (status.code == http.StatusNotFound || status.code == http.StatusGone)
}

// errStalled is the cause with which a request's context is ended.
var errStalled = errors.New("stalled")

// body is a response that ends with a StallError when the server sends nothing
// for too long.
type body struct {
	*http.Response
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	stall  time.Duration
	url    string
	start  int64 // first byte of the answer within the file
	total  int64 // size of the whole file, -1 if unknown
	read   int64
}

// get sends one request. The caller closes the body. Statuses other than 200,
// 206 and 304 are a statusError.
func (c *Client) get(ctx context.Context, url string, header http.Header) (*body, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	b := &body{ctx: ctx, cancel: cancel, stall: c.Stall, url: url, total: -1}
	b.timer = time.AfterFunc(c.Stall, func() { cancel(errStalled) })
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		b.timer.Stop()
		cancel(nil)
		return nil, fmt.Errorf("%s: not a URL", shown(url))
	}
	req.Header = header
	req.Header.Set("User-Agent", "slipway")
	b.Response, err = c.http.Do(req)
	if err != nil {
		b.timer.Stop()
		err = b.explain(err)
		cancel(nil)
		return nil, err
	}
	switch b.StatusCode {
	case http.StatusOK, http.StatusPartialContent, http.StatusNotModified:
	default:
		b.Close()
		return nil, &statusError{url: url, code: b.StatusCode, status: b.Status}
	}
	if b.ContentLength >= 0 {
		b.total = b.ContentLength
	}
	return b, nil
}

// explain turns the end of the context into what ended it, and drops the method
// that net/http puts in front.
func (b *body) explain(err error) error {
	if cause := context.Cause(b.ctx); cause == errStalled {
		return &StallError{URL: b.url, Received: b.start + b.read, Total: b.total, After: b.stall}
	} else if cause != nil {
		return cause
	}
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	return fmt.Errorf("%s: %w", shown(b.url), err)
}

func (b *body) Read(p []byte) (int, error) {
	b.timer.Reset(b.stall)
	n, err := b.Body.Read(p)
	b.read += int64(n)
	if err != nil && err != io.EOF {
		err = b.explain(err)
	}
	return n, err
}

func (b *body) Close() error {
	b.timer.Stop()
	err := b.Body.Close()
	b.cancel(nil)
	return err
}

// retry runs f up to three times with pauses between, until it succeeds, the
// context ends or the error is one that will not go away. A local directory
// gives the same answer every time and is asked once.
func (c *Client) retry(ctx context.Context, url string, f func() error) error {
	pause := c.Backoff
	for attempt := 1; ; attempt++ {
		err := f()
		if err == nil || attempt == 3 || isLocal(url) || ctx.Err() != nil || lasting(err) || permanent(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		pause *= 4
	}
}

// isLocal says whether a mirror is a directory of this machine.
func isLocal(url string) bool { return strings.HasPrefix(url, "file:") }
