package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"slipway/build/store"
)

// Download is a file of an archive whose content is known beforehand.
type Download struct {
	Name    string // for messages: "bash 5.2.37-2"; the path if empty
	Archive string // key of Mirrors
	Path    string // below the mirror's root
	Size    int64
	SHA256  store.Sum
}

func (d *Download) title() string {
	if d.Name == "" {
		return d.Path
	}
	return d.Name
}

// MissingError says that files are gone from the mirror.
type MissingError struct {
	Missing []Download
	URL     string // of the first
}

// Error names the first file and the number of the others.
func (e *MissingError) Error() string {
	more := ""
	if n := len(e.Missing) - 1; n > 0 {
		more = fmt.Sprintf(" (and %d more files)", n)
	}
	return fmt.Sprintf("%s: gone from the mirror: no file at %s%s", e.Missing[0].title(), shown(e.URL), more)
}

// Hint gives the two remedies.
func (e *MissingError) Hint() string {
	return "use a mirror that keeps old versions (--mirror URL), or take today's packages with `slipway lock`"
}

// Fetch brings files into the store, several at once. Those that are there
// already cost nothing. Interrupted ones go on where they stopped, now or in a
// later run. Files that the mirror does not have are reported together, as one
// MissingError, after everything else has been fetched; any other error ends
// the rest.
func (c *Client) Fetch(ctx context.Context, files []Download) error {
	var meter meter
	meter.report = c.Progress
	var todo []Download
	seen := map[store.Sum]bool{}
	for _, d := range files {
		if seen[d.SHA256] {
			continue
		}
		seen[d.SHA256] = true
		meter.p.Files++
		meter.p.Bytes += d.Size
		if c.Store.Has(d.SHA256) {
			meter.p.FilesDone++
			meter.p.BytesDone += d.Size
			continue
		}
		todo = append(todo, d)
	}
	meter.add(0, 0)
	// The largest first: they bound the whole.
	slices.SortStableFunc(todo, func(a, b Download) int { return cmp.Compare(b.Size, a.Size) })

	var mu sync.Mutex
	var missing MissingError
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(c.Jobs)
	for _, d := range todo {
		group.Go(func() error {
			err := c.fetchOne(ctx, &d, &meter)
			if !notFound(err) {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			missing.Missing = append(missing.Missing, d)
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if len(missing.Missing) > 0 {
		slices.SortFunc(missing.Missing, func(a, b Download) int { return strings.Compare(a.Path, b.Path) })
		missing.URL, _ = c.url(missing.Missing[0].Archive, missing.Missing[0].Path)
		return &missing
	}
	return nil
}

// meter adds up progress from several downloads.
type meter struct {
	mu     sync.Mutex
	p      Progress
	report func(Progress)
}

func (m *meter) add(files int, bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.p.FilesDone += files
	m.p.BytesDone += bytes
	if m.report != nil {
		m.report(m.p)
	}
}

// fetchOne brings one file into the store, with retries.
func (c *Client) fetchOne(ctx context.Context, d *Download, m *meter) error {
	url, err := c.url(d.Archive, d.Path)
	if err != nil {
		return fmt.Errorf("%s: %w", d.title(), err)
	}
	counted := int64(0) // what this file has added to the meter
	set := func(offset int64) {
		m.add(0, offset-counted)
		counted = offset
	}
	err = c.retry(ctx, url, func() error {
		err := c.attempt(ctx, d, url, set)
		var mismatch *store.MismatchError
		if errors.As(err, &mismatch) {
			return fmt.Errorf("%s: %w", shown(url), err)
		}
		return err
	})
	switch {
	case err == nil:
		set(d.Size)
		m.add(1, 0)
		return nil
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	set(0)
	return fmt.Errorf("%s: %w", d.title(), err)
}

// permanent errors are those of this machine's disk.
func permanent(err error) bool {
	var full *store.FullError
	return errors.As(err, &full)
}

// attempt makes one request for what is still missing of a file.
func (c *Client) attempt(ctx context.Context, d *Download, url string, set func(int64)) error {
	w, err := c.Store.Create(ctx, d.SHA256, d.Size)
	if errors.Is(err, store.ErrExists) {
		return nil
	}
	if err != nil {
		return err
	}
	defer w.Close()
	set(w.Offset())
	if w.Offset() == d.Size {
		return w.Commit()
	}
	header := http.Header{}
	if w.Offset() > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", w.Offset()))
	}
	b, err := c.get(ctx, url, header)
	var status *statusError
	if errors.As(err, &status) && status.code == http.StatusRequestedRangeNotSatisfiable {
		// What is there is longer than what the mirror has: one of both is wrong.
		if err := w.Reset(); err != nil {
			return err
		}
		b, err = c.get(ctx, url, http.Header{})
	}
	if err != nil {
		return err
	}
	defer b.Close()
	if err := align(b, w); err != nil {
		return err
	}
	b.start, b.total = w.Offset(), d.Size
	set(w.Offset())
	if err := copyTo(w, b, set); err != nil {
		return err
	}
	if w.Offset() < d.Size && b.ContentLength >= 0 && b.read == b.ContentLength {
		// The server sent all it has, so more attempts would change nothing.
		return w.Commit()
	}
	if w.Offset() < d.Size {
		return fmt.Errorf("%s: connection ended after %d of %d bytes", shown(url), w.Offset(), d.Size)
	}
	return w.Commit()
}

// align makes writer and answer agree on the first byte: servers may ignore a
// Range.
func align(b *body, w *store.Writer) error {
	if w.Offset() == 0 && b.StatusCode == http.StatusOK {
		return nil
	}
	if b.StatusCode == http.StatusPartialContent {
		var first, last int64
		_, err := fmt.Sscanf(b.Header.Get("Content-Range"), "bytes %d-%d/", &first, &last)
		if err == nil && first == w.Offset() {
			return nil
		}
		return fmt.Errorf("%s: asked for bytes from %d, got range %q",
			shown(b.url), w.Offset(), b.Header.Get("Content-Range"))
	}
	return w.Reset()
}

// copyTo copies an answer to the store and reports how far it got.
func copyTo(w *store.Writer, b *body, set func(int64)) error {
	buffer := make([]byte, 128<<10)
	for {
		n, err := b.Read(buffer)
		if _, err := w.Write(buffer[:n]); err != nil {
			return err
		}
		set(w.Offset())
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
