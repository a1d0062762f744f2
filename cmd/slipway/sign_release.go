package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"slipway/cmd/internal/hint"
	"slipway/cmd/internal/release"
	"slipway/cmd/internal/report"
	"slipway/signing"
	"slipway/signing/footer"
)

// signRelease adds signatures to the slot in both images of a release and
// signs its new release.json. The release is replaced as a whole, or stays as
// it was.
func signRelease(ctx context.Context, dir string, keys *signers, rep *report.Report) (err error) {
	info, err := release.Read(dir)
	if err != nil {
		return err
	}
	if err := keys.suit(info.Development, dir); err != nil {
		return err
	}
	if err := signAnew(dir, keys); err != nil {
		return err
	}
	stage, err := release.NewStageFor(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stage.Close()) }()
	next := *info
	next.Files = nil
	for _, e := range info.Files {
		from, to := filepath.Join(dir, e.Name), filepath.Join(stage.Dir, e.Name)
		switch {
		case strings.HasSuffix(e.Name, ".payload"):
			rep.Warn("%s carries the slot as it was signed before and is left out: slipway payload create makes another", e.Name)
			continue
		case e.Name == release.Disk || e.Name == release.Slot:
			if err := e.Check(dir, runtime.NumCPU()); err != nil {
				return err
			}
			if err := copySigned(ctx, from, to, keys); err != nil {
				return fmt.Errorf("%s: %w", e.Name, err)
			}
		default:
			if err := os.Link(from, to); err != nil {
				return err
			}
		}
		described, err := release.Describe(stage.Dir, e.Name, runtime.NumCPU(), e.SHA256 != "")
		if err != nil {
			return err
		}
		next.Files = append(next.Files, described)
	}
	ctx = signing.About(ctx, fmt.Sprintf("%s of %s %s", release.Manifest, info.Name, info.Version))
	if err := stage.Replace(ctx, &next, releaseSigners(keys.payload)...); err != nil {
		return err
	}
	rep.Step("sign").Done("%s, by %s", dir, ids(keys.all()))
	if d, err := release.ReadPointer(filepath.Dir(stage.Final())); err == nil && d.Body.Version == info.Version {
		rep.Warn("%s names the release as it was: slipway promote makes another", release.PointerFile)
	}
	return nil
}

// signEvidence adds signatures to the evidence of a release.
func signEvidence(ctx context.Context, dir string, keys *signers, rep *report.Report) error {
	info, err := release.Read(dir)
	if err != nil {
		return err
	}
	if err := keys.suit(info.Development, dir); err != nil {
		return err
	}
	d, err := release.ReadEvidence(dir)
	if err != nil {
		return err
	}
	ctx = signing.About(ctx, fmt.Sprintf("%s of %s %s", release.EvidenceFile, d.Body.Name, d.Body.Version))
	if err := d.Sign(ctx, releaseSigners(keys.payload)...); err != nil {
		return err
	}
	rep.Step("sign").Done("%s, by %s", filepath.Join(dir, release.EvidenceFile), ids(keys.payload))
	return release.WriteEvidence(dir, d)
}

// signPointer adds signatures to the pointer of a channel.
func signPointer(ctx context.Context, dir string, keys *signers, rep *report.Report) error {
	d, err := release.ReadPointer(dir)
	if err != nil {
		return err
	}
	info, err := d.Body.ReadNamed(dir)
	if err != nil {
		return err
	}
	if err := keys.suit(info.Development, filepath.Join(dir, release.PointerFile)); err != nil {
		return err
	}
	ctx = signing.About(ctx, fmt.Sprintf("pointer %d to %s %s of channel %s", d.Body.Sequence, d.Body.Name,
		d.Body.Version, d.Body.Channel))
	if err := d.Sign(ctx, releaseSigners(keys.payload)...); err != nil {
		return err
	}
	rep.Step("sign").Done("%s, by %s", filepath.Join(dir, release.PointerFile), ids(keys.payload))
	return release.WritePointer(dir, d)
}

// signAnew checks that everyone who signed a release.json signs the next one.
func signAnew(dir string, keys *signers) error {
	list, err := release.ReadSignatures(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, old := range list {
		if !slices.ContainsFunc(keys.payload, func(s signing.Signer) bool { return s.KeyID() == old.KeyID }) {
			return hint.Add(fmt.Errorf("%s: is signed by %.20s, which has to sign it anew", filepath.Join(dir, release.Manifest), old.KeyID),
				"name that key too; slipway sign %s adds signatures to that file alone", filepath.Join(dir, release.Manifest))
		}
	}
	return nil
}

// copySigned copies an image and adds signatures to the slots in the copy.
func copySigned(ctx context.Context, from, to string, keys *signers) error {
	in, size, err := openImage(from)
	if err != nil {
		return err
	}
	defer in.Close()
	slots, err := slotsIn(in, size)
	if err != nil {
		return err
	}
	var blocks [][]byte
	var errs []error
	for _, s := range slots {
		block, err := countersign(ctx, s, keys)
		blocks, errs = append(blocks, block), append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return copyImage(ctx, to, in, size, func(out *os.File) error {
		for i, s := range slots {
			if _, err := out.WriteAt(blocks[i], s.offset+s.Size()-footer.Size); err != nil {
				return err
			}
		}
		return nil
	})
}
