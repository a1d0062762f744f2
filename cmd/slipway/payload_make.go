package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"slipway/build/erofs"
	"slipway/build/tree"
	"slipway/build/verity"
	"slipway/cmd/internal/report"
	"slipway/signing"
	"slipway/signing/footer"
	"slipway/signing/payload"
	"slipway/signing/payload/delta"
)

// payloadOptions is what a payload is made of.
type payloadOptions struct {
	old, new *slotFile // old is nil for a full payload
	minimum  string    // version; empty: that of the footer
	compress payload.Compressor
	signers  []signing.Signer
	workers  int
	rep      *report.Report
}

// madePayload describes a payload that was written.
type madePayload struct {
	*payload.Manifest
	size int64
}

// makePayload writes a payload aside and puts it in its place.
func makePayload(ctx context.Context, name string, o *payloadOptions) (_ *madePayload, err error) {
	step := o.rep.LoggedStep("payload")
	defer func() {
		if err != nil {
			step.Fail()
		}
	}()
	manifest, err := o.manifest(ctx)
	if err != nil {
		return nil, err
	}
	plan, err := o.plan(ctx, manifest)
	if err != nil {
		return nil, err
	}
	dir := filepath.Dir(name)
	scratch, err := os.CreateTemp(dir, ".payload-data-*")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, scratch.Close(), os.Remove(scratch.Name())) }()
	out, err := os.CreateTemp(dir, ".payload-*")
	if err != nil {
		return nil, err
	}
	defer os.Remove(out.Name()) // not there any more if all went well
	defer out.Close()

	m, err := o.write(ctx, out, &payload.WriteOptions{
		Manifest: *manifest, Plan: showProgress(plan, step.Progress, o.new.size), Scratch: scratch,
		Signers: payloadSigners(o.signers), About: signing.About,
	})
	if err != nil {
		return nil, err
	}
	size, err := out.Seek(0, io.SeekEnd)
	if err := errors.Join(err, out.Chmod(0o644), out.Sync(), out.Close()); err != nil {
		return nil, err
	}
	if err := os.Rename(out.Name(), name); err != nil {
		return nil, err
	}
	kind := "full"
	if m.Delta() {
		kind = "from " + m.Info.SourceVersion
	}
	step.Done("%s, %s, %d operations", kind, megabytes(size), len(m.Operations))
	return &madePayload{m, size}, nil
}

// write checks the new slot and takes its digest while the plan runs.
func (o *payloadOptions) write(ctx context.Context, w io.Writer, to *payload.WriteOptions) (m *payload.Manifest, err error) {
	group, ctx := errgroup.WithContext(ctx)
	digest := make(chan payload.Image, 1)
	group.Go(func() error {
		image, err := o.new.image(ctx, o.workers)
		if err == nil {
			digest <- image
		}
		return err
	})
	to.New = func() (payload.Image, error) {
		select {
		case image := <-digest:
			return image, nil
		case <-ctx.Done():
			return payload.Image{}, ctx.Err()
		}
	}
	group.Go(func() error {
		var err error
		m, err = payload.Write(ctx, w, to)
		return err
	})
	err = group.Wait() // before m is read
	return m, err
}

// showProgress tells how much of the destination is planned.
func showProgress(plan payload.Plan, progress func(done, total int64), total int64) payload.Plan {
	return func(yield func(payload.Operation, error) bool) {
		done := int64(0)
		for op, err := range plan {
			done += op.DstSize()
			progress(done, total)
			if !yield(op, err) {
				return
			}
		}
	}
}

// manifest says what is known of a payload before it is planned: all but what
// its operations make.
func (o *payloadOptions) manifest(ctx context.Context) (*payload.Manifest, error) {
	f := o.new.footer
	m := &payload.Manifest{Info: payload.Info{
		Name: f.Name, Version: f.Version, MinimumVersion: f.MinimumVersion, Architecture: f.Architecture,
		Development: f.Development, RootHash: f.RootHash,
	}}
	if o.minimum != "" {
		m.Info.MinimumVersion = o.minimum
	}
	if o.old == nil {
		return m, nil
	}
	old, err := o.old.image(ctx, o.workers)
	if err != nil {
		return nil, err
	}
	from := o.old.footer
	if from.Name != f.Name || from.Architecture != f.Architecture {
		return nil, fmt.Errorf("payload: from %s %s to %s %s: not the same system", from.Name, from.Architecture, f.Name, f.Architecture)
	}
	m.Old, m.Info.SourceVersion, m.Info.SourceRootHash = &old, from.Version, from.RootHash
	m.HashTree, err = hashTree(f)
	return m, err
}

// hashTree says where the tree lies that a delta payload leaves out.
func hashTree(f *footer.Footer) (*payload.HashTree, error) {
	salt, err := hex.DecodeString(f.Salt)
	if err != nil {
		return nil, fmt.Errorf("slot footer: salt: %w", err)
	}
	const block = payload.BlockSize
	if f.FSSize <= block {
		return nil, nil // no tree over a single block
	}
	return &payload.HashTree{
		Data: payload.Extent{Start: 0, Blocks: uint64(f.FSSize / block)},
		// In front of the tree lies its superblock.
		Tree: payload.Extent{
			Start: uint64(f.HashOffset/block) + 1, Blocks: uint64(f.HashSize/verity.BlockSize) - 1,
		},
		Algorithm: "sha256", Salt: salt,
	}, nil
}

// image compares the slot image with its own hash tree and takes the digest of
// the whole.
func (s *slotFile) image(ctx context.Context, workers int) (payload.Image, error) {
	h := sha256.New()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.check(ctx, workers) })
	group.Go(func() error {
		buf := make([]byte, 1<<20)
		for at := int64(0); at < s.size && ctx.Err() == nil; {
			n, err := s.ReadAt(buf[:min(int64(len(buf)), s.size-at)], at)
			if n == 0 {
				return fmt.Errorf("%s: read at %d: %w", s.Name(), at, cmp.Or(err, io.ErrUnexpectedEOF))
			}
			h.Write(buf[:n])
			at += int64(n)
		}
		return ctx.Err()
	})
	err := group.Wait()
	return payload.Image{Size: s.size, SHA256: [32]byte(h.Sum(nil))}, err
}

// plan decides how to write the new slot.
func (o *payloadOptions) plan(ctx context.Context, m *payload.Manifest) (payload.Plan, error) {
	if o.old == nil {
		return payload.PlanFull(ctx, o.new, o.new.size, &payload.FullOptions{Compress: o.compress, Workers: o.workers}), nil
	}
	oldFiles, err := o.old.files()
	if err != nil {
		return nil, err
	}
	newFiles, err := o.new.files()
	if err != nil {
		return nil, err
	}
	var skip []payload.Extent
	if m.HashTree != nil {
		skip = append(skip, m.HashTree.Tree)
	}
	return delta.Plan(ctx, &delta.Options{
		Old: o.old, OldSize: o.old.size, OldFiles: oldFiles,
		New: o.new, NewSize: o.new.size, NewFiles: newFiles,
		Skip: skip, Compress: o.compress, Workers: o.workers,
	}), nil
}

// files lists where the files of the slot's file system lie.
func (s *slotFile) files() ([]delta.File, error) {
	usr, err := erofs.Open(s, s.footer.FSSize)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Name(), err)
	}
	var files []delta.File
	for p, n := range usr.All() {
		if content, ok := n.Blob.(*erofs.Content); ok && n.Type == tree.File {
			if start, size := content.Blocks(); size > 0 {
				files = append(files, delta.File{Path: p, Start: start, Size: size})
			}
		}
	}
	return files, nil
}

// verity gives root hash and salt in bytes.
func (s *slotFile) verity() (root [32]byte, salt []byte, err error) {
	b, err := hex.DecodeString(s.footer.RootHash)
	if err != nil || len(b) != len(root) {
		return root, nil, fmt.Errorf("root hash %.80q is not a SHA-256", s.footer.RootHash)
	}
	salt, err = hex.DecodeString(s.footer.Salt)
	return [32]byte(b), salt, err
}
