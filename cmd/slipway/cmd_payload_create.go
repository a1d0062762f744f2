package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"github.com/urfave/cli/v2"
	"golang.org/x/sync/errgroup"

	"slipway/build/erofs"
	"slipway/build/tools"
	"slipway/build/tree"
	"slipway/build/verity"
	"slipway/cmd/internal/hint"
	"slipway/cmd/internal/release"
	"slipway/cmd/internal/report"
	"slipway/signing"
	"slipway/signing/footer"
	"slipway/signing/payload"
	"slipway/signing/payload/delta"
)

const payloadCreateHelp = `Makes a full payload of NEW, or with --from a delta payload from OLD to NEW, and
writes it to update.payload or update-from-VERSION.payload in the working
directory, or to the file named by -o. Level release packs with zstd -19 (half a
minute for 100 MB), level development in two seconds and a third larger;
without --level it is as the image was made.`

// Levels of packing.
const (
	levelRelease     = "release"
	levelDevelopment = "development"
)

func payloadCreateCommand() *cli.Command {
	return &cli.Command{
		Name:        "create",
		Usage:       "make a payload of a release",
		ArgsUsage:   "NEW",
		Description: payloadCreateHelp,
		Flags: append(signFlags(),
			&cli.StringFlag{Name: "from", Usage: "make a delta payload that leads from the release or slot image `OLD`"},
			&cli.StringFlag{Name: "o", Usage: "write the payload to `FILE`"},
			&cli.StringFlag{Name: "level", Usage: "pack for `LEVEL` release or development"},
			&cli.StringFlag{Name: "minimum-version", Usage: "machines of a version older than `VERSION` must not apply it"},
			&cli.StringFlag{Name: "mirror", Usage: "fetch the packing program from the Debian mirror `URL`"},
			&cli.IntFlag{Name: "jobs", Usage: "pack with `N` workers instead of one for each processor"},
			jsonFlag(),
		),
		Action: runPayloadCreate,
	}
}

func runPayloadCreate(c *cli.Context) (err error) {
	if err := arguments(c, 1, 1); err != nil {
		return err
	}
	w, err := openWorkspace()
	if err != nil {
		return err
	}
	o := &payloadOptions{minimum: c.String("minimum-version"), workers: c.Int("jobs")}
	if o.minimum != "" {
		if err := checkVersion(o.minimum); err != nil {
			return hint.Usagef("payload create: --minimum-version %q: not MAJOR.MINOR.PATCH", o.minimum)
		}
	}
	if o.workers < 1 {
		o.workers = runtime.NumCPU()
	}
	if o.new, err = openSlot(c.Args().First()); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.new.Close()) }()
	if from := c.String("from"); from != "" {
		if o.old, err = openSlot(from); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, o.old.Close()) }()
	}
	o.channel = channelOf(c.Args().First())

	rep := newReport(c)
	defer rep.Close()
	o.rep = rep
	sign := readSignOptions(c)
	keys, err := openSigners(c.Context, w, sign, rep)
	if err != nil {
		return err
	}
	o.signers = keys.payload
	if err := o.sameKind(keys); err != nil {
		return err
	}
	level := c.String("level")
	if level == "" && keys.development {
		level = levelDevelopment
	}
	var closeTools func() error
	o.compress, closeTools, err = openCompressor(c.Context, w, level, c.String("mirror"), rep)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeTools()) }()
	name := c.String("o")
	if name == "" {
		name = payloadName(o.old)
	}
	m, err := makePayload(c.Context, name, o)
	if err != nil {
		return keys.explain(err)
	}
	rep.Close()
	if c.Bool("json") {
		rep.Result(map[string]any{"payload": name, "size": m.size, "version": m.Info.Version})
		return nil
	}
	fmt.Fprintln(c.App.Writer, name)
	return nil
}

// payloadName is what a payload is called in a release.
func payloadName(old *slotFile) string {
	if old == nil {
		return release.Payload
	}
	return "update-from-" + old.footer.Version + ".payload"
}

// channelOf is the channel a release was built for, if it is one.
func channelOf(name string) string {
	if info, err := release.Read(name); err == nil {
		return info.Channel
	}
	return ""
}

// sameKind refuses to sign a development image for release, and the other way
// round: everything about a version says the same.
func (o *payloadOptions) sameKind(keys *signers) error {
	switch name := o.new.Name(); {
	case o.new.footer.Development && !keys.development:
		return hint.Add(fmt.Errorf("%s: a development image, the keys are for releases", name),
			"slipway build --key REF signs the image with keys for releases")
	case !o.new.footer.Development && keys.development:
		return hint.Add(fmt.Errorf("%s: an image for release, the keys are for development", name), "--key REF or --keys DIR")
	}
	return nil
}

// openCompressor gives what packs operations, and what closes it.
func openCompressor(ctx context.Context, w *workspace, level, mirror string, rep *report.Report) (payload.Compressor, func() error, error) {
	switch level {
	case levelDevelopment:
		fast, err := payload.Fast()
		return fast, func() error { return nil }, err
	case levelRelease, "":
	default:
		return nil, nil, hint.Add(hint.Usagef("payload create: --level %q: unknown", level), "--level release or development")
	}
	config, err := loadConfig(w.root, "alpha", nil)
	if err != nil {
		return nil, nil, err
	}
	packages, err := openPackages(w, mirror, false, runtime.NumCPU(), rep)
	if err != nil {
		return nil, nil, err
	}
	programs, err := packages.tools(ctx, "payload", config)
	if err != nil {
		return nil, nil, errors.Join(err, packages.Close())
	}
	return zstdProgram(programs), packages.Close, nil
}

// zstdProgram packs with the pinned zstd at its best usual level.
func zstdProgram(programs *tools.Tree) payload.Compressor {
	return func(ctx context.Context, src []byte) ([]byte, error) {
		cmd := programs.Command(ctx, "zstd", "-19", "--single-thread", "--no-check", "--quiet",
			"--stdout", fmt.Sprintf("--stream-size=%d", len(src)))
		var out, problems bytes.Buffer
		cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(src), &out, &problems
		if err := cmd.Run(); err != nil {
			return nil, fmt.Errorf("zstd: %w: %s", err, bytes.TrimSpace(problems.Bytes()))
		}
		return out.Bytes(), nil
	}
}

// payloadOptions is what a payload is made of.
type payloadOptions struct {
	old, new *slotFile // old is nil for a full payload
	channel  string
	minimum  string // version; empty: that of the footer
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

	m, err := payload.Write(ctx, out, &payload.WriteOptions{
		Manifest: *manifest, Plan: showProgress(plan, step.Progress, manifest.New.Size), Scratch: scratch,
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

// manifest says what is known of a payload before it is planned.
func (o *payloadOptions) manifest(ctx context.Context) (*payload.Manifest, error) {
	f := o.new.footer
	m := &payload.Manifest{Info: payload.Info{
		Name: f.Name, Version: f.Version, MinimumVersion: f.MinimumVersion, Architecture: f.Architecture,
		Channel: o.channel, Development: f.Development, RootHash: f.RootHash,
	}}
	if o.minimum != "" {
		m.Info.MinimumVersion = o.minimum
	}
	var err error
	if m.New, err = o.new.image(ctx, o.workers); err != nil || o.old == nil {
		return m, err
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
