// Package patch makes new data out of old data and a patch, and patches out of
// both.
package patch

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Limits bounds what Apply does. They come from the signed operation that the
// patch belongs to.
type Limits struct {
	// Size is how many bytes the new data has.
	Size int64
}

const (
	format = 1
	piece  = 64 << 10 // bytes coded at a time
)

// Make gives a patch that turns old into new.
func Make(old, fresh []byte) ([]byte, error) {
	sa, err := suffixes(old)
	if err != nil {
		return nil, err
	}
	mt := &matcher{old: old, new: fresh, sa: sa}
	segments := mt.segments()
	head := []byte{format}
	head = binary.AppendUvarint(head, uint64(len(old)))
	head = binary.AppendUvarint(head, uint64(len(fresh)))
	head = binary.AppendUvarint(head, uint64(len(segments)))
	c := newEncoder()
	segments = codeSegments(c, segments)
	m := newModel(c)
	at := 0
	for _, s := range segments {
		for done := 0; done < int(s.copied); {
			n := min(int(s.copied)-done, piece)
			from := int(s.old) + done
			m.copied(fresh[at:at+n], old[from:from+n])
			done += n
			at += n
		}
		m.added(fresh[at : at+int(s.added)])
		at += int(s.added)
	}
	return append(head, c.finish()...), nil
}

// codeSegments codes the list of segments.
func codeSegments(c *coder, segments []segment) []segment {
	copied, added, moved := newNumbers(1), newNumbers(1), newNumbers(2)
	end, sign := int64(0), even
	for i := range segments {
		s := &segments[i]
		s.copied = c.number(&copied[0], s.copied)
		s.added = c.number(&added[0], s.added)
		move := int64(s.old) - end
		negative := c.adaptive(&sign, boolBit(move < 0))
		if move < 0 {
			move = -move
		}
		move = int64(c.number(&moved[negative], uint32(move)))
		if negative != 0 {
			move = -move
		}
		s.old = uint32(end + move)
		end = int64(s.old) + int64(s.copied)
	}
	return segments
}

// Apply writes the new data to dst.
func Apply(dst io.Writer, old io.ReaderAt, oldSize int64, patch io.Reader, limit Limits) error {
	in := bufio.NewReader(patch)
	b, err := in.ReadByte()
	if err != nil || b != format {
		return errors.New("patch: unknown format")
	}
	var head [3]uint64
	for i := range head {
		if head[i], err = binary.ReadUvarint(in); err != nil {
			return fmt.Errorf("patch: %w", err)
		}
	}
	segments := make([]segment, head[2])
	c := newDecoder(in)
	segments = codeSegments(c, segments)
	m := newModel(c)
	fresh, from := make([]byte, piece), make([]byte, piece)
	for _, s := range segments {
		for done := 0; done < int(s.copied); {
			n := min(int(s.copied)-done, piece)
			if _, err := old.ReadAt(from[:n], int64(s.old)+int64(done)); err != nil {
				return err
			}
			m.copied(fresh[:n], from[:n])
			if _, err := dst.Write(fresh[:n]); err != nil {
				return err
			}
			done += n
		}
		for done := 0; done < int(s.added); {
			n := min(int(s.added)-done, piece)
			m.added(fresh[:n])
			if _, err := dst.Write(fresh[:n]); err != nil {
				return err
			}
			done += n
		}
	}
	return c.err
}

var _ = bytes.Equal
