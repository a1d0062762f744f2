package patch

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"slipway/signing/payload/patch/zframe"
)

// minFrame is the smallest content of a frame that is worth it, in bytes.
const minFrame = 64 << 10

// found is a frame that was found in data.
type found struct {
	at, size int64
	content  int64 // bytes
	blocks   int
}

// findFrames finds the frames in data that can be taken apart and put together
// again, to the same bytes if again is set.
func findFrames(data []byte, again bool) (all []found) {
	content, blocks := int64(0), 0
	for at := 0; len(all) < maxFrames; {
		i := bytes.Index(data[at:], []byte(zframe.Magic))
		if i < 0 {
			break
		}
		at += i
		f, err := tryFrame(data[at:], again)
		if err == nil && f.content >= minFrame && content+f.content <= maxContent && blocks+f.blocks <= maxBlocks {
			f.at = int64(at)
			all = append(all, f)
			at += int(f.size)
			content, blocks = content+f.content, blocks+f.blocks
		} else {
			at += len(zframe.Magic)
		}
	}
	return all
}

// tryFrame takes the frame at the start of data apart.
func tryFrame(data []byte, again bool) (f found, err error) {
	r := bytes.NewReader(data)
	var p parse
	var w zframe.Writer
	var out []byte
	size, err := p.unpack(r, func(b *zframe.Block) (err error) {
		p = parse{} // only sizes matter
		f.content += int64(b.Size)
		f.blocks++
		if !again {
			return nil
		}
		if out, err = w.Append(out[:0], b); err != nil {
			return err
		}
		if read := data[:len(data)-r.Len()]; !bytes.HasSuffix(read, out) {
			return errParse
		}
		return nil
	})
	f.size = size
	return f, err
}

// contentOf gives what a frame unpacks to.
func contentOf(packed []byte) (content []byte, err error) {
	var p parse
	recent := zframe.StartOffsets
	_, err = p.unpack(bytes.NewReader(packed), func(b *zframe.Block) (err error) {
		p = parse{} // not needed, and large
		content, err = b.AppendContent(content, &recent)
		return err
	})
	return content, err
}

// alikeIn gives the runs of content that two frames have in common.
func alikeIn(old, fresh []byte) ([]likeRun, error) {
	was, err := contentOf(old)
	if err != nil {
		return nil, err
	}
	is, err := contentOf(fresh)
	if err != nil {
		return nil, err
	}
	segments, err := findSegments(was, is)
	return runsOf(segments), err
}

// frame writes a frame of the new data, and says in f what there is to know.
func (o *output) frame(f *frame, old, fresh []byte) error {
	alike, err := alikeIn(old, fresh)
	if err != nil {
		return err
	}
	p := new(parse)
	if _, err := p.unpack(bytes.NewReader(old), func(*zframe.Block) error { return nil }); err != nil {
		return err
	}
	f.matches, f.literals, f.runs = int64(len(p.matches)), int64(len(p.literals)), int64(len(alike))
	o.runs(alike)
	w := newGuesser(p, newLikeness(alike))
	z, err := zframe.NewReader(bytes.NewReader(fresh))
	if err != nil {
		return err
	}
	o.text(blocks, z.Header)
	var b zframe.Block
	place := uint32(0)
	for {
		if err := z.Next(&b); err == io.EOF {
			break
		} else if err != nil {
			return err
		}
		o.block(w, &b, place)
		place += uint32(b.Size)
	}
	o.text(blocks, z.Trailer)
	return nil
}

// minAlike is the shortest copy that says where content has gone, in bytes.
const minAlike = 24

// runsOf gives the runs of content that is alike, the first at 0.
func runsOf(segments []segment) []likeRun {
	all := []likeRun{{}}
	at := uint32(0)
	for _, s := range segments {
		last := &all[len(all)-1]
		switch {
		case s.copied < minAlike || s.old-last.old == at-last.at:
		case at == 0:
			last.old = s.old
		default:
			all = append(all, likeRun{at, s.old})
		}
		at += s.copied + s.added
	}
	return all
}

func (o *output) runs(all []likeRun) {
	var last likeRun
	for _, r := range all {
		o.number(runs, uint64(r.at-last.at))
		o.signed(runs, int64(r.old)-int64(last.old)-int64(r.at-last.at))
		last = r
	}
}

// runs reads the runs of a frame.
func (in *input) runs(n int64) ([]likeRun, error) {
	if n == 0 {
		return nil, errRuns
	}
	all := make([]likeRun, n)
	at, old := int64(0), int64(0)
	for i := range all {
		step := int64(in.s[runs].number(maxContent))
		at += step
		old += step + in.s[runs].signed()
		if in.err != nil {
			return nil, in.err
		}
		if at > maxContent || old < 0 || old > maxContent || (i == 0) != (step == 0) {
			return nil, errRuns
		}
		all[i] = likeRun{uint32(at), uint32(old)}
	}
	return all, nil
}

var errRuns = errors.New("no runs, or out of order")

// unpack takes the old frame apart.
func (f *frame) unpack(old io.ReaderAt) (*parse, error) {
	p := &parse{
		matches: make([]match, 0, f.matches+2), literals: make([]byte, 0, f.literals),
		marks: make([]mark, 0, f.matches/markEvery+1),
	}
	r := bufio.NewReaderSize(io.NewSectionReader(old, f.oldAt, f.oldSize), 64<<10)
	size, err := p.unpack(r, func(b *zframe.Block) error {
		matches, literals := len(p.matches)+len(b.Sequences), len(p.literals)+len(b.Literals)
		if int64(matches) > f.matches || int64(literals) > f.literals {
			return errOldFrame
		}
		return nil
	})
	if err == nil && (size != f.oldSize ||
		int64(len(p.matches)) != f.matches || int64(len(p.literals)) != f.literals) {
		err = errOldFrame
	}
	if err != nil {
		return nil, fmt.Errorf("old frame: %w", err)
	}
	return p, nil
}

var errOldFrame = errors.New("is another one")

// frame makes a frame and writes it to dst.
func (a *applying) frame(f *frame) error {
	p, err := f.unpack(a.old)
	if err != nil {
		return err
	}
	alike, err := a.in.runs(f.runs)
	if err != nil {
		return err
	}
	w := newGuesser(p, newLikeness(alike))
	left := f.size
	write := func(b []byte) error {
		if left -= int64(len(b)); left < 0 {
			return fmt.Errorf("new frame: more than %d bytes", f.size)
		}
		return a.write(b)
	}
	if err := write(a.in.s[blocks].text(maxTable)); err != nil {
		return err
	}
	var b zframe.Block
	var z zframe.Writer
	var out []byte
	for place := uint32(0); !b.Last; place += uint32(b.Size) {
		if err := a.in.block(w, &b, place, a.buf); err != nil {
			return err
		}
		a.blocks++
		if a.content += int64(b.Size); a.blocks > maxBlocks || a.content > maxContent {
			return fmt.Errorf("new frame: more than %d blocks or %d bytes of content", maxBlocks, maxContent)
		}
		if out, err = z.Append(out[:0], &b); err != nil {
			return fmt.Errorf("new frame: %w", err)
		}
		if err := write(out); err != nil {
			return err
		}
	}
	if err := write(a.in.s[blocks].text(maxTable)); err != nil {
		return err
	}
	if left > 0 {
		return fmt.Errorf("new frame: %d bytes are missing", left)
	}
	return nil
}
