package main

import (
	"bytes"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"slipway/signing/payload"
	"slipway/signing/payload/patch"
)

// measure unpacks an operation and watches how fast its data is used up. That
// of a patch without its source is taken to be used up evenly.
func (c *costs) measure(op *payload.Operation, data []byte) (curve costCurve, err error) {
	switch {
	case op.Type == payload.ReplaceZstd:
		in := &countingReader{r: bytes.NewReader(data)}
		out := &curveWriter{in: in}
		var d *zstd.Decoder
		d, err = zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(payload.MaxReplace))
		if err == nil {
			_, err = io.Copy(out, d)
			d.Close()
		}
		curve = out.curve
	case op.Type == payload.Patch && c.source != nil:
		old := payload.NewExtentReader(c.source, op.Src)
		err = patch.Watch(op.DstSize(), old, op.SrcSize(), data, func(made, used int64) {
			curve = append(curve, costPoint{made, used})
		})
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op.Type, err)
	}
	// Whatever was not seen to be used is used in the end.
	return append(curve, costPoint{op.DstSize(), op.DataSize}), nil
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
