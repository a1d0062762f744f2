package main

import (
	"bytes"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"slipway/signing/payload"
)

// measure unpacks compressed data and watches how fast it is used up. That of
// other operations is taken to be used up evenly.
func measure(op *payload.Operation, data []byte) (costCurve, error) {
	out := &curveWriter{in: &countingReader{r: bytes.NewReader(data)}}
	if op.Type == payload.ReplaceZstd {
		d, err := zstd.NewReader(out.in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(payload.MaxReplace))
		if err == nil {
			_, err = io.Copy(out, d)
			d.Close()
		}
		if err != nil {
			return nil, fmt.Errorf("payload: %s: %w", op.Type, err)
		}
	}
	// Whatever was not seen to be used is used in the end.
	return append(out.curve, costPoint{op.DstSize(), op.DataSize}), nil
}

// countingReader counts what is read.
type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}

// curveWriter notes at every write how much has been read.
type curveWriter struct {
	in      *countingReader
	written int64
	curve   costCurve
}

func (w *curveWriter) Write(b []byte) (int, error) {
	w.written += int64(len(b))
	w.curve = append(w.curve, costPoint{w.written, w.in.n})
	return len(b), nil
}
