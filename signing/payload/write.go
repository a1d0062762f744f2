package payload

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
)

// Plan gives the operations of a payload in the order of their destination.
type Plan = iter.Seq2[Operation, error]

// Scratch keeps the data of a payload until the manifest in front of it is
// known: an empty file.
type Scratch interface {
	io.Writer
	io.ReaderAt
}

// WriteOptions says what Write makes a payload of.
type WriteOptions struct {
	// Manifest without operations and signatures' place: Write fills those.
	Manifest Manifest
	// New, if set, gives Manifest.New once the plan has been run, so that its
	// digest can be taken meanwhile.
	New     func() (Image, error)
	Plan    Plan
	Scratch Scratch
	Signers []Signer
	// About, if set, tells signers by their context what they sign.
	About func(ctx context.Context, what string) context.Context
}

// Write writes a payload and gives its manifest. Equal plans give equal bytes,
// if the signers do. Memory is that of the manifest. Nothing is written to w
// before every signer has signed; their errors are joined.
func Write(ctx context.Context, w io.Writer, o *WriteOptions) (*Manifest, error) {
	if len(o.Signers) == 0 {
		return nil, errors.New("payload: no key to sign with")
	}
	if len(o.Signers) > maxSignatureCount {
		return nil, fmt.Errorf("payload: %d keys to sign with, at most %d are allowed", len(o.Signers), maxSignatureCount)
	}
	m := o.Manifest
	if err := m.gather(ctx, o.Plan, o.Scratch); err != nil {
		return nil, fmt.Errorf("payload: %w", err)
	}
	if o.New != nil {
		var err error
		if m.New, err = o.New(); err != nil {
			return nil, fmt.Errorf("payload: %w", err)
		}
	}
	m.SignaturesSize = int64(signaturesSize(o.Signers))
	for _, s := range o.Signers {
		m.Signers = append(m.Signers, s.KeyID())
	}
	if err := m.validate(); err != nil {
		return nil, fmt.Errorf("payload: %w", err)
	}
	manifest := encodeManifest(&m)
	if len(manifest) > MaxManifest {
		return nil, fmt.Errorf("payload: manifest of %d bytes, at most %d are allowed", len(manifest), MaxManifest)
	}
	metadata := append(encodeHeader(len(manifest), int(m.SignaturesSize)), manifest...)
	data := func() io.Reader { return io.NewSectionReader(o.Scratch, 0, m.SignaturesOffset) }

	// Both digests are known before anything is signed, so that one run is
	// enough for signers who only take down what they are asked to sign.
	h := sha256.New()
	h.Write(metadata)
	buf := make([]byte, copySize)
	if _, err := io.CopyBuffer(onlyWriter{h}, contextReader{ctx, data()}, buf); err != nil {
		return nil, fmt.Errorf("payload: read back data: %w", err)
	}
	ofMetadata, err := sign(o.about(ctx, "metadata"), sha256.Sum256(metadata), o.Signers)
	ofPayload, err2 := sign(o.about(ctx, "data"), [32]byte(h.Sum(nil)), o.Signers)
	if err := errors.Join(err, err2); err != nil {
		return nil, fmt.Errorf("sign payload: %w", err)
	}
	for _, part := range []io.Reader{
		bytes.NewReader(metadata), bytes.NewReader(encodeSignatures(ofMetadata)),
		data(), bytes.NewReader(encodeSignatures(ofPayload)),
	} {
		if _, err := io.CopyBuffer(onlyWriter{w}, contextReader{ctx, part}, buf); err != nil {
			return nil, fmt.Errorf("write payload: %w", err)
		}
	}
	return &m, nil
}

func (o *WriteOptions) about(ctx context.Context, part string) context.Context {
	if o.About == nil {
		return ctx
	}
	i, from := &o.Manifest.Info, ""
	if i.SourceVersion != "" {
		from = " from " + i.SourceVersion
	}
	return o.About(ctx, fmt.Sprintf("%s of the payload to %s %s%s", part, i.Name, i.Version, from))
}

// gather runs the plan: data into the scratch file, the rest into m.
func (m *Manifest) gather(ctx context.Context, plan Plan, scratch io.Writer) error {
	m.Operations, m.Signers, m.SignaturesOffset = nil, nil, 0
	for op, err := range plan {
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		op.DataSize = int64(len(op.Data))
		if op.DataSize > 0 {
			op.DataOffset, op.DataSHA256 = m.SignaturesOffset, sha256.Sum256(op.Data)
			if _, err := scratch.Write(op.Data); err != nil {
				return fmt.Errorf("keep data: %w", err)
			}
			m.SignaturesOffset += op.DataSize
		}
		op.Data = nil
		m.Operations = append(m.Operations, op)
	}
	return nil
}

// onlyWriter keeps io.CopyBuffer from using another buffer than the given one.
type onlyWriter struct{ io.Writer }

// contextReader ends with the context's error once that is done.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(b)
}
