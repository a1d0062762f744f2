package archive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"slipway/build/store"
)

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
	return data, func() {
		if !isLocal(url) {
			c.keepRelease(kept, data)
		}
	}, nil
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
