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
	maxContent = 128 << 20
)

// unpack reads a frame from r. If same is set, which is what r holds, the frame
// has to be one that can be put together again to that.
func (f *frame) unpack(r io.Reader, length int64, room *room, same []byte) error {
	z, err := zframe.NewReader(r)
	if err != nil {
		return err
	}
	before := room.left
	f.content = content{limit: length, room: room}
	f.parse = parse{room: room}
	recent := zframe.StartOffsets
	var b zframe.Block
	var check checker
	for {
		at := uint32(f.content.size)
		err := z.Next(&b, &f.content)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if same != nil {
			if err := check.block(&b, &f.content, same[:z.Size()]); err != nil {
				return err
			}
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

// checker puts blocks together and compares them with what they were.
type checker struct {
	w          zframe.Writer
	fresh, out []byte
}

var errOther = errors.New("a frame that cannot be put together again")

// block checks the block that the content and what was read of the frame end
// with.
func (k *checker) block(b *zframe.Block, c *content, read []byte) (err error) {
	k.fresh = append(k.fresh[:0], make([]byte, b.Size)...)
	c.read(k.fresh, c.size-int64(b.Size))
	if k.out, err = k.w.Append(k.out[:0], b, k.fresh); err != nil {
		return err
	}
	if !bytes.HasSuffix(read, k.out) {
		return errOther
	}
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
		var same []byte
		if again {
			same = data[at:]
		}
		err := f.unpack(bytes.NewReader(data[at:]), maxContent, &room{1 << 40}, same)
		if err == nil && f.length >= minFrame {
			found = append(found, f)
			at += int(f.size)
		} else {
			at += len(zframe.Magic)
		}
	}
	return found
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
