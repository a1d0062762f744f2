package unpack

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"slipway/build/deb"
	"slipway/build/tree"
)

// maxModule bounds one kernel module, decompressed; the largest of Debian 13
// has 12 MB. moduleAhead is how many are decompressed while the package is
// read on: with maxModule it bounds the memory.
const (
	maxModule   = 64 << 20
	moduleAhead = 6
)

// moduleName gives the name of a compressed kernel module without its
// compression, and what undoes that; nil if the path is no such module.
func moduleName(p string) (string, func(io.Reader) (io.ReadCloser, error)) {
	if !strings.HasPrefix(p, "usr/lib/modules/") {
		return p, nil
	}
	if name, ok := strings.CutSuffix(p, ".xz"); ok && strings.HasSuffix(name, ".ko") {
		return name, deb.XZ
	}
	if name, ok := strings.CutSuffix(p, ".zst"); ok && strings.HasSuffix(name, ".ko") {
		return name, deb.Zstd
	}
	return p, nil
}

// moduleQueue holds the modules under way in the order of the package, so that
// the data file does not depend on how fast each is.
type moduleQueue struct{ under []*pendingModule }

type pendingModule struct {
	path    string
	node    *tree.Node
	content []byte
	sum     [sha256.Size]byte
	err     error
	done    chan struct{}
}

// stop waits for what is still running.
func (q *moduleQueue) stop() {
	for _, m := range q.under {
		<-m.done
	}
}

// module reads a compressed module and decompresses it on another goroutine.
func (w *writer) module(d *deb.Reader, e *deb.Entry, undo func(io.Reader) (io.ReadCloser, error)) error {
	if e.Size > maxModule {
		return fmt.Errorf("path /%s: kernel module of %d bytes", e.Path, e.Size)
	}
	packed := make([]byte, e.Size)
	if _, err := io.ReadFull(d, packed); err != nil {
		return err
	}
	m := &pendingModule{path: e.Path, node: e.Node, done: make(chan struct{})}
	w.modules.under = append(w.modules.under, m)
	go func() {
		defer close(m.done)
		m.content, m.err = undoModule(packed, undo)
		m.sum = sha256.Sum256(m.content)
	}()
	return w.finishModules(moduleAhead)
}

func undoModule(packed []byte, undo func(io.Reader) (io.ReadCloser, error)) ([]byte, error) {
	r, err := undo(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var b bytes.Buffer
	b.Grow(min(4*len(packed)+bytes.MinRead, maxModule))
	n, err := b.ReadFrom(io.LimitReader(r, maxModule+1))
	if err == nil && n > maxModule {
		err = fmt.Errorf("kernel module of more than %d bytes", maxModule)
	}
	return b.Bytes(), err
}

// finishModules writes finished modules until at most ahead are under way.
func (w *writer) finishModules(ahead int) error {
	for len(w.modules.under) > ahead {
		m := w.modules.under[0]
		<-m.done
		w.modules.under = w.modules.under[1:]
		if m.err != nil {
			return fmt.Errorf("path /%s: %w", m.path, m.err)
		}
		if err := w.pad(); err != nil {
			return err
		}
		m.node.Blob = &section{offset: w.offset, size: int64(len(m.content)), sum: m.sum}
		if _, err := w.out.Write(m.content); err != nil {
			return err
		}
		w.offset += int64(len(m.content))
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
