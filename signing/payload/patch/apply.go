package patch

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"slipway/signing/payload/patch/zframe"
)

// Applier applies patches, several at a time if they fit into MaxMemory
// together. Its zero value is ready.
type Applier struct {
	mu   sync.Mutex
	done sync.Cond
	used int64 // memory of the patches at work, bytes
}

// Apply is the function [Apply], once there is room for it.
func (a *Applier) Apply(dst io.Writer, newSize int64, old io.ReaderAt, oldSize int64, patch []byte) error {
	need := int64(baseMemory)
	if h, err := readHeader(bufio.NewReader(bytes.NewReader(patch))); err == nil {
		need += int64(h.segments) * segmentMemory
		if len(h.oldFrames)+len(h.frames) > 0 {
			need = MaxMemory
		}
	}
	a.mu.Lock()
	a.done.L = &a.mu
	for a.used > 0 && a.used+need > MaxMemory {
		a.done.Wait()
	}
	a.used += need
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		a.used -= need
		a.mu.Unlock()
		a.done.Broadcast()
	}()
	return Apply(dst, newSize, old, oldSize, patch)
}

// Apply writes newSize bytes to dst, which the patch makes of the oldSize bytes
// of old. Any other number of bytes is an error; what was written up to then is
// of no use. old has to be what the patch was made from, which the caller
// checks: from anything else come other bytes, or an error.
//
// Memory is at most MaxMemory beside the patch, and time in proportion to the
// sizes, whatever the patch says.
func Apply(dst io.Writer, newSize int64, old io.ReaderAt, oldSize int64, patch []byte) error {
	return Stream(dst, newSize, old, oldSize, bytes.NewReader(patch))
}

// Stream is Apply for a patch that is read as it is used up: a reader that
// counts can tell how much of it which part of the new data took.
func Stream(dst io.Writer, newSize int64, old io.ReaderAt, oldSize int64, patch io.Reader) error {
	if err := apply(dst, newSize, old, oldSize, bufio.NewReaderSize(patch, 512)); err != nil {
		return fmt.Errorf("patch: %w", err)
	}
	return nil
}

func apply(dst io.Writer, newSize int64, old io.ReaderAt, oldSize int64, in *bufio.Reader) error {
	h, err := readHeader(in)
	if err != nil {
		return err
	}
	if h.oldSize != oldSize || h.newSize != newSize {
		return fmt.Errorf("leads from %d bytes to %d, want from %d to %d", h.oldSize, h.newSize, oldSize, newSize)
	}
	if err := h.fits(); err != nil {
		return err
	}
	freshView, err := newView(nil, newSize, h.frames)
	if err != nil {
		return err
	}
	if freshView.size != h.viewSize {
		return errHeader
	}
	oldView, err := h.unpack(old)
	if err != nil {
		return err
	}
	c := newDecoder(in)
	segments := make([]segment, h.segments)
	codeSegments(c, segments)
	if err := checkSegments(segments, oldView.size, h.viewSize); err != nil {
		return err
	}
	w := newWorker(c, oldView, segments, h)
	for _, p := range freshView.pieces {
		if p.frame != nil {
			err = w.decode(p.frame, dst)
		} else {
			err = w.copyPlain(dst, p.size)
		}
		if err != nil {
			return err
		}
	}
	return c.err
}

// unpack takes the old frames apart.
func (h *header) unpack(old io.ReaderAt) (*view, error) {
	space := h.room()
	for _, f := range h.oldFrames {
		size, length := f.size, f.length
		if size > h.oldSize || f.at > h.oldSize-size {
			return nil, errHeader
		}
		r := bufio.NewReaderSize(io.NewSectionReader(old, f.at, size), piece)
		if err := f.unpack(r, length, &space, nil); err != nil {
			return nil, fmt.Errorf("old frame: %w", err)
		}
		if f.size != size || f.length != length {
			return nil, fmt.Errorf("old frame: %d bytes in %d, want %d in %d", f.length, f.size, length, size)
		}
	}
	return newView(old, h.oldSize, h.oldFrames)
}

// checkSegments compares segments with the data they divide.
func checkSegments(segments []segment, oldSize, newSize int64) error {
	total := int64(0)
	for _, s := range segments {
		total += int64(s.copied) + int64(s.added)
		if total > newSize || int64(s.old)+int64(s.copied) > oldSize {
			return errors.New("a segment outside of the data")
		}
	}
	if total != newSize {
		return fmt.Errorf("segments of %d bytes, want %d", total, newSize)
	}
	return nil
}

// copyPlain writes data that is in no frame.
func (w *worker) copyPlain(dst io.Writer, size int64) error {
	if w.fresh == nil {
		w.fresh = make([]byte, zframe.MaxBlock)
	}
	for size > 0 {
		b := w.fresh[:min(size, piece)]
		if err := w.fill(b); err != nil {
			return err
		}
		if _, err := dst.Write(b); err != nil {
			return err
		}
		size -= int64(len(b))
	}
	return nil
}

// decode puts a frame together.
func (w *worker) decode(f *frame, dst io.Writer) error {
	p := w.start(f)
	written := int64(0)
	write := func(b []byte) error {
		if written += int64(len(b)); written > f.size {
			return fmt.Errorf("new frame: more than %d bytes", f.size)
		}
		_, err := dst.Write(b)
		return err
	}
	if err := write(p.bytes(nil, 0)); err != nil {
		return err
	}
	if w.fresh == nil {
		w.fresh = make([]byte, zframe.MaxBlock)
	}
	var b zframe.Block
	var z zframe.Writer
	var out []byte
	for at := int64(0); !b.Last; at += int64(b.Size) {
		b = zframe.Block{Sequences: b.Sequences[:0]}
		p.head(&b)
		if b.Size > zframe.MaxBlock || int64(b.Size) > f.length-at {
			return errParse
		}
		fresh := w.fresh[:b.Size]
		if err := w.fill(fresh); err != nil {
			return err
		}
		if err := p.rest(&b, uint32(at), fresh); err != nil {
			return err
		}
		var err error
		if out, err = z.Append(out[:0], &b, fresh); err != nil {
			return fmt.Errorf("new frame: %w", err)
		}
		if err := write(out); err != nil {
			return err
		}
		if b.Last && at+int64(b.Size) != f.length {
			return errParse
		}
		if w.c.err != nil {
			return w.c.err
		}
	}
	if err := write(p.bytes(nil, 0)); err != nil {
		return err
	}
	if written != f.size {
		return fmt.Errorf("new frame: %d bytes, want %d", written, f.size)
	}
	return nil
}
