package patch

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"slipway/signing/payload/patch/zframe"
)

// frame is a Zstandard frame inside data, taken apart.
type frame struct {
	at, size int64 // of the frame, in the data
	length   int64 // of its content
	base     int64 // of its content in the view

	taken   int64 // memory that the rest takes
	content content
	parse   parse
}

const (
	// minFrame is the smallest content of a frame that is worth it, in bytes.
	minFrame = 64 << 10
	// maxFrames bounds the frames in one patch.
	maxFrames = 16
	// maxContent bounds the content of a frame, in bytes.
	maxContent = 1 << 30
)

// unpack reads a frame from r.
func (f *frame) unpack(r io.Reader, length int64, room *room) error {
	z, err := zframe.NewReader(r)
	if err != nil {
		return err
	}
	before := room.left
	f.content = content{limit: length, room: room}
	f.parse = parse{room: room}
	recent := zframe.StartOffsets
	var b zframe.Block
	for {
		at := uint32(f.content.size)
		err := z.Next(&b, &f.content)
		if errors.Is(err, io.EOF) && z.Size() > 0 && b.Last {
			break
		}
		if err != nil {
			return err
		}
		for _, s := range b.Sequences {
			at += s.Literals
			if err := f.parse.add(at, s.Match, recent.Offset(s)); err != nil {
				return err
			}
			at += s.Match
		}
	}
	f.size, f.length, f.taken = z.Size(), f.content.size, before-room.left
	return nil
}

// findFrames finds the frames in data that can be taken apart and put together
// again, to the same bytes if again is set.
func findFrames(data []byte, again bool) []*frame {
	var found []*frame
	for at := 0; len(found) < maxFrames; {
		i := bytes.Index(data[at:], []byte(zframe.Magic))
		if i < 0 {
			break
		}
		at += i
		f := &frame{at: int64(at)}
		err := f.unpack(bytes.NewReader(data[at:]), maxContent, &room{1 << 40})
		if err == nil && f.length >= minFrame && (!again || f.restores(data[at:at+int(f.size)])) {
			found = append(found, f)
			at += int(f.size)
		} else {
			at += len(zframe.Magic)
		}
	}
	return found
}

// restores tells whether a frame can be put together again as it was.
func (f *frame) restores(data []byte) bool {
	z, err := zframe.NewReader(bytes.NewReader(data))
	if err != nil {
		return false
	}
	var w zframe.Writer
	var b zframe.Block
	c := &content{limit: f.length, room: &room{1 << 40}}
	out := append([]byte(nil), z.Header...)
	for {
		at := c.size
		if err := z.Next(&b, c); err != nil {
			return errors.Is(err, io.EOF) && bytes.Equal(append(out, z.Trailer...), data)
		}
		fresh := make([]byte, b.Size)
		c.read(fresh, at)
		if out, err = w.Append(out, &b, fresh); err != nil {
			return false
		}
		if len(out) > len(data) || !bytes.Equal(out, data[:len(out)]) {
			return false
		}
		data, out = data[len(out):], out[:0]
	}
}

// worker makes new data and its frames, or codes them.
type worker struct {
	*run
	parser    *parser
	oldFrames []*frame
	frames    int    // started
	fresh     []byte // decoder: a block's content
}

func newWorker(c *coder, old *view, segments []segment, h *header) *worker {
	t := newTables()
	w := &worker{run: newRun(c, t, old, segments), oldFrames: h.oldFrames}
	if len(h.frames) > 0 {
		w.mapSegments(h.viewSize)
		w.parser = newParser(w.run, t)
	}
	return w
}

// start starts a new frame: it is taken to be like the old one of its number.
func (w *worker) start(f *frame) *parser {
	var old *frame
	if w.frames < len(w.oldFrames) {
		old = w.oldFrames[w.frames]
	}
	w.frames++
	w.parser.start(old, f)
	return w.parser
}

// newView makes the view of old data in which frames are taken apart.
func newView(r io.ReaderAt, size int64, frames []*frame) (*view, error) {
	v := &view{r: r}
	add := func(size, from int64, f *frame) {
		if size > 0 {
			v.pieces = append(v.pieces, viewPiece{v.size, size, from, f})
			v.size += size
		}
	}
	at := int64(0)
	for _, f := range frames {
		if f.at < at || f.size <= 0 || f.size > size-f.at {
			return nil, fmt.Errorf("a frame of %d bytes at %d", f.size, f.at)
		}
		add(f.at-at, at, nil)
		f.base = v.size
		add(f.length, 0, f)
		at = f.at + f.size
	}
	add(size-at, at, nil)
	return v, nil
}
