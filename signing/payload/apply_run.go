package payload

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
)

// copySize is how much is copied, hashed or zeroed at once, in bytes.
const copySize = 1 << 20

var errSource = errors.New("the source is not what the payload was made for")

// zero writes zeros.
func (a *applier) zero(w *worker, op *Operation) error {
	if z, ok := a.Target.(interface {
		ZeroAt(offset, size int64) error
	}); ok {
		for _, e := range op.Dst {
			if err := z.ZeroAt(int64(e.Start)*BlockSize, int64(e.Blocks)*BlockSize); err != nil {
				return fmt.Errorf("write target: %w", err)
			}
		}
		return nil
	}
	buf := w.buffer()
	clear(buf)
	dst := &extentWriter{w: a.Target, extents: op.Dst}
	for left := dst.left(); left > 0; left = dst.left() {
		if _, err := dst.Write(buf[:min(left, copySize)]); err != nil {
			return err
		}
	}
	return nil
}

// copy writes blocks of the source, which is read twice if it does not fit the
// buffer: once for the digest, then to copy.
func (a *applier) copy(w *worker, op *Operation) error {
	src := newExtentReader(a.Source, op.Src)
	buf := w.buffer()
	if err := checkSource(src, op, buf); err != nil {
		return err
	}
	if src.size() <= copySize {
		return a.write(op, buf[:src.size()])
	}
	dst := &extentWriter{w: a.Target, extents: op.Dst}
	return eachPart(src, buf, func(part []byte) error {
		_, err := dst.Write(part)
		return err
	})
}

// patch writes what a patch makes of blocks of the source.
func (a *applier) patch(w *worker, op *Operation, data []byte) error {
	src := newExtentReader(a.Source, op.Src)
	if err := checkSource(src, op, w.buffer()); err != nil {
		return err
	}
	dst := &extentWriter{w: a.Target, extents: op.Dst}
	out := bufio.NewWriterSize(dst, copySize/4)
	err := a.Patch(out, op.DstSize(), src, src.size(), data)
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		return fmt.Errorf("patch: %w", err)
	}
	if left := dst.left(); left > 0 {
		return fmt.Errorf("patch: %d bytes are missing", left)
	}
	return nil
}

// checkSource compares the source blocks of an operation with their digest.
// Afterwards buf holds them, if they fit.
func checkSource(src *extentReader, op *Operation, buf []byte) error {
	h := sha256.New()
	err := eachPart(src, buf, func(part []byte) error {
		h.Write(part)
		return nil
	})
	if err != nil {
		return err
	}
	if [32]byte(h.Sum(nil)) != op.SrcSHA256 {
		return errSource
	}
	return nil
}

// eachPart reads all of src through buf.
func eachPart(src *extentReader, buf []byte, use func([]byte) error) error {
	for at := int64(0); at < src.size(); {
		part := buf[:min(int64(len(buf)), src.size()-at)]
		if n, err := src.ReadAt(part, at); n < len(part) {
			if err == nil {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("read source: %w", err)
		}
		if err := use(part); err != nil {
			return err
		}
		at += int64(len(part))
	}
	return nil
}
