package archive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"slipway/build/store"
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
		return nil, fmt.Errorf("%s: not a URL", url)
	}
	req.Header = header
	req.Header.Set("User-Agent", "slipway")
	b.Response, err = c.http.Do(req)
	if err != nil {
		b.timer.Stop()
		return nil, b.explain(err)
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

func isLocal(url string) bool { return strings.HasPrefix(url, "file:") }

// cachedRelease is the head of a kept InRelease file; the content follows it.
type cachedRelease struct {
	URL          string    `json:"url"`
	ETag         string    `json:"etag,omitempty"`
	LastModified string    `json:"last_modified,omitempty"`
	SHA256       store.Sum `json:"sha256"` // of what follows, against damage
}

// fetchRelease gets a suite's InRelease afresh; the server may say that it has
// not changed since the last time. What is kept is as untrusted as what comes
// over the network, and verified as often. The caller calls keep once the file
// is verified: a bad one must not be asked for again by its ETag.
func (c *Client) fetchRelease(ctx context.Context, archive, suite string) (data []byte, keep func(), err error) {
	url, err := c.url(archive, "dists/"+suite+"/InRelease")
	if err != nil {
		return nil, nil, err
	}
	var kept cachedRelease
	var old []byte
	// A directory is read afresh: its times are too coarse to tell two files
	// of one second apart, and reading costs nothing.
	if !isLocal(url) {
		kept, old = c.keptRelease(url)
	}
	err = c.retry(ctx, url, func() error {
		header := http.Header{}
		if kept.ETag != "" {
			header.Set("If-None-Match", kept.ETag)
		}
		if kept.LastModified != "" {
			header.Set("If-Modified-Since", kept.LastModified)
		}
		b, err := c.get(ctx, url, header)
		if err != nil {
			return err
		}
		defer b.Close()
		if b.StatusCode == http.StatusNotModified && len(old) > 0 {
			data = old
			return nil
		}
		data, err = io.ReadAll(io.LimitReader(b, maxRelease+1))
		if err == nil && len(data) > maxRelease {
			err = fmt.Errorf("%s: larger than %d bytes", shown(url), maxRelease)
		}
		kept.ETag, kept.LastModified = b.Header.Get("ETag"), b.Header.Get("Last-Modified")
		return err
	})
	switch {
	case notFound(err):
		return nil, nil, &SuiteMissingError{Suite: suite, Archive: archive, URL: url}
	case err != nil:
		return nil, nil, fmt.Errorf("suite %q: %w", suite, err)
	}
	kept.URL, kept.SHA256 = url, sha256.Sum256(data)
	return data, func() { c.keepRelease(kept, data) }, nil
}

// SuiteMissingError says that a mirror has no such suite.
type SuiteMissingError struct{ Suite, Archive, URL string }

// Error names both.
func (e *SuiteMissingError) Error() string {
	return fmt.Sprintf("suite %q: archive %q has no such suite: no file at %s", e.Suite, e.Archive, shown(e.URL))
}

// Hint says what helps.
func (e *SuiteMissingError) Hint() string {
	return fmt.Sprintf("check the suite's name, and the mirror (--mirror %s=URL)", e.Archive)
}

func (c *Client) releasePath(url string) string {
	sum := sha256.Sum256([]byte(url))
	return filepath.Join(c.Dir, hex.EncodeToString(sum[:])+".inrelease")
}

// keptRelease returns the last InRelease from that URL, or nothing.
func (c *Client) keptRelease(url string) (cachedRelease, []byte) {
	data, err := os.ReadFile(c.releasePath(url))
	if err != nil {
		return cachedRelease{}, nil
	}
	head, content, _ := strings.Cut(string(data), "\n")
	var kept cachedRelease
	if json.Unmarshal([]byte(head), &kept) != nil || kept.URL != url ||
		kept.SHA256 != sha256.Sum256([]byte(content)) {
		return cachedRelease{}, nil
	}
	return kept, []byte(content)
}

// keepRelease keeps a file for the next conditional request. Without
// validators, or room, it is not worth an error.
func (c *Client) keepRelease(kept cachedRelease, data []byte) {
	if kept.ETag == "" && kept.LastModified == "" {
		return
	}
	head, err := json.Marshal(kept)
	if err != nil {
		return
	}
	_ = writeAside(c.releasePath(kept.URL), append(append(head, '\n'), data...))
}

// writeAside writes a small file under another name and renames it.
func writeAside(name string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), "tmp-")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
