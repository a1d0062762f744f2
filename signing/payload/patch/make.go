package patch

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"

	"slipway/signing/payload/patch/zframe"
)

// Make gives a patch that turns old into fresh. Memory is about six times the
// old data, and that of the frames in both.
func Make(old, fresh []byte) ([]byte, error) {
	if len(old) > MaxSize || len(fresh) > MaxSize {
		return nil, fmt.Errorf("patch: from %d to %d bytes, at most %d are allowed", len(old), len(fresh), MaxSize)
	}
	frames := findFrames(fresh, true)
	var oldFrames []*frame
	if len(frames) > 0 {
		oldFrames = alike(findFrames(old, false), frames)
	}
	b, err := makePatch(old, fresh, oldFrames, frames)
	if errors.Is(err, errMemory) && len(frames) > 0 {
		b, err = makePatch(old, fresh, nil, nil)
	}
	if err != nil {
		return nil, fmt.Errorf("patch: %w", err)
	}
	return b, nil
}

// alike picks, for each new frame, the old one that is nearest in size.
func alike(old, frames []*frame) (picked []*frame) {
	for _, f := range frames {
		if len(old) == 0 {
			break
		}
		best := 0
		for i := range old {
			if distance(old[i].length, f.length) < distance(old[best].length, f.length) {
				best = i
			}
		}
		picked = append(picked, old[best])
		old = slices.Delete(old, best, best+1)
	}
	slices.SortFunc(picked, func(a, b *frame) int { return cmp.Compare(a.at, b.at) })
	return picked
}

func distance(a, b int64) int64 { return max(a-b, b-a) }

// makePatch makes a patch with these frames taken apart.
func makePatch(old, fresh []byte, oldFrames, frames []*frame) ([]byte, error) {
	oldView, err := newView(bytes.NewReader(old), int64(len(old)), oldFrames)
	if err != nil {
		return nil, err
	}
	freshView, err := newView(bytes.NewReader(fresh), int64(len(fresh)), frames)
	if err != nil {
		return nil, err
	}
	h := &header{int64(len(old)), int64(len(fresh)), freshView.size, 0, oldFrames, frames}
	if err := h.fits(); err != nil {
		return nil, err
	}
	data := make([]byte, freshView.size)
	if err := freshView.readAt(data, 0); err != nil {
		return nil, err
	}
	for _, f := range frames {
		f.content, f.parse = content{}, parse{} // it is all in data now
	}
	segments, err := findSegments(oldView, data)
	if err != nil {
		return nil, err
	}
	h.segments = len(segments)
	if err := h.fits(); err != nil {
		return nil, err
	}
	c := newEncoder()
	codeSegments(c, segments)
	w := newWorker(c, oldView, segments, h)
	for _, p := range freshView.pieces {
		part := data[:p.size]
		data = data[p.size:]
		if p.frame != nil {
			err = w.encode(p.frame, fresh[p.frame.at:p.frame.at+p.frame.size], part)
		} else {
			err = w.plain(part)
		}
		if err != nil {
			return nil, err
		}
	}
	return append(h.append(nil), c.finish()...), nil
}

// findSegments compares two versions.
func findSegments(old *view, fresh []byte) ([]segment, error) {
	data := make([]byte, old.size)
	if err := old.readAt(data, 0); err != nil {
		return nil, err
	}
	sa, err := suffixes(data)
	if err != nil {
		return nil, err
	}
	return newMatcher(data, fresh, sa).segments(), nil
}

// plain codes data that is in no frame.
func (w *worker) plain(data []byte) error {
	for len(data) > 0 {
		n := min(len(data), piece)
		if err := w.fill(data[:n]); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

// encode codes a frame whose content is known.
func (w *worker) encode(f *frame, packed, data []byte) error {
	p := w.start(f)
	z, err := zframe.NewReader(bytes.NewReader(packed))
	if err != nil {
		return err
	}
	p.bytes(z.Header, 0)
	sink := &content{limit: f.length, room: &room{1 << 40}}
	var b zframe.Block
	at := uint32(0)
	for {
		if err := z.Next(&b, sink); err == io.EOF {
			break
		} else if err != nil {
			return err
		}
		fresh := data[at : int(at)+b.Size]
		p.head(&b)
		if err := w.fill(fresh); err != nil {
			return err
		}
		if err := p.rest(&b, at, fresh); err != nil {
			return err
		}
		at += uint32(b.Size)
	}
	p.bytes(z.Trailer, 0)
	return nil
}
