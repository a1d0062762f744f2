package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"slipway/build/verity"
	"slipway/cmd/internal/hint"
	"slipway/cmd/internal/inspect"
	"slipway/cmd/internal/release"
	"slipway/cmd/internal/report"
	"slipway/signing"
	"slipway/signing/footer"
)

const signHelp = `Adds signatures to what exists already, without a rebuild, in place of older ones
by the same keys. TARGET is one of

  a release directory          the slot in both images, and release.json
  a release.json               that file
  evidence.json, channel.json  that file
  slipway.img, usr.img         the slot in it, whose every block is checked first
  DIR of --digests-out         what lies there to be signed by the keys named
  DIR of a key set             a change of the set that waits for its root key

The keys are named as for slipway build. In a release directory everyone who
signed release.json has to sign it anew, for the images change under it; and the
payloads are left out, for they carry the slot with its old signatures.`

func signCommand() *cli.Command {
	return &cli.Command{
		Name:        "sign",
		Usage:       "add signatures to an image or a release",
		ArgsUsage:   "TARGET",
		Description: signHelp,
		Flags:       append(signFlags(), jsonFlag()),
		Action: func(c *cli.Context) error {
			if err := arguments(c, 1, 1); err != nil {
				return err
			}
			rep := newReport(c)
			defer rep.Close()
			return sign(c.Context, c.Args().First(), readSignOptions(c), rep)
		},
	}
}

func sign(ctx context.Context, target string, o *signOptions, rep *report.Report) (err error) {
	holds := func(name string) bool {
		_, err := os.Stat(filepath.Join(target, name))
		return err == nil
	}
	if st, err := os.Stat(target); err != nil {
		return err
	} else if st.IsDir() && holds(signing.Index) && !holds(release.Manifest) {
		return answer(ctx, target, o, rep)
	} else if st.IsDir() && holds(unsignedName) {
		return finishKeys(ctx, target, o)
	} else if st.IsDir() && !holds(release.Manifest) {
		return hint.Add(fmt.Errorf("%s: no release, no digests and no change of a key set to sign", target), "slipway sign --help")
	}
	if len(o.refs) == 0 && o.set == "" {
		return hint.Add(hint.Usagef("sign: --key missing: who signs?"), "--key REF, or --keys DIR")
	}
	keys, err := openSigners(ctx, nil, o, rep)
	if err != nil {
		return err
	}
	defer func() { err = keys.explain(err) }()
	switch {
	case holds(release.Manifest):
		return signRelease(ctx, target, keys, rep)
	case filepath.Base(target) == release.Manifest:
		return signManifest(ctx, filepath.Dir(target), keys, rep)
	case filepath.Base(target) == release.EvidenceFile:
		return signEvidence(ctx, filepath.Dir(target), keys, rep)
	case filepath.Base(target) == release.PointerFile:
		return signPointer(ctx, filepath.Dir(target), keys, rep)
	}
	return signImage(ctx, target, keys, rep)
}

// signManifest adds signatures to a release.json.
func signManifest(ctx context.Context, dir string, keys *signers, rep *report.Report) error {
	info, err := release.Read(dir)
	if err != nil {
		return err
	}
	if err := keys.suit(info.Development, dir); err != nil {
		return err
	}
	ctx = signing.About(ctx, fmt.Sprintf("%s of %s %s", release.Manifest, info.Name, info.Version))
	if err := release.Countersign(ctx, dir, releaseSigners(keys.payload)...); err != nil {
		return err
	}
	rep.Step("sign").Done("%s, by %s", filepath.Join(dir, release.Manifest), ids(keys.payload))
	return nil
}

// suit says whether the keys may sign what is, or is not, for trying out.
func (s *signers) suit(development bool, what string) error {
	switch {
	case development && !s.development:
		return hint.Add(fmt.Errorf("%s: a development image: no release key signs it", what), "slipway build --key REF builds it for release")
	case !development && s.development:
		return fmt.Errorf("%s: is for release, %s is a development key", what, ids(s.all()))
	}
	return nil
}

func ids(list []signing.Signer) string {
	var all []string
	for _, s := range list {
		all = append(all, s.KeyID())
	}
	return strings.Join(all, ", ")
}

// signImage adds signatures to the slot in an image, in place.
func signImage(ctx context.Context, name string, keys *signers, rep *report.Report) (err error) {
	read, size, err := openImage(name)
	if err != nil {
		return err
	}
	defer read.Close()
	slots, err := slotsIn(read, size)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	blocks := make([][]byte, len(slots))
	var errs []error
	for i, s := range slots {
		blocks[i], err = countersign(ctx, s, keys)
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := ownCopy(ctx, name, read, size); err != nil {
		return err
	}
	write, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, write.Sync(), write.Close()) }()
	for i, s := range slots {
		if _, err := write.WriteAt(blocks[i], s.offset+s.Size()-footer.Size); err != nil {
			return err
		}
	}
	rep.Step("sign").Done("%s, by %s", name, ids(keys.image))
	if _, err := os.Stat(filepath.Join(filepath.Dir(name), release.Manifest)); err == nil {
		rep.Warn("%s has the digests of before: slipway sign %s signs the whole release",
			filepath.Join(filepath.Dir(name), release.Manifest), filepath.Dir(name))
	}
	return nil
}

// ownCopy makes a file that has other names too, as those of promoted releases
// may have, one of its own, so that a change to it changes no other release.
func ownCopy(ctx context.Context, name string, in *os.File, size int64) (err error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(in.Fd()), &st); err != nil || st.Nlink < 2 {
		return err
	}
	out, err := os.CreateTemp(filepath.Dir(name), ".new-")
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, out.Close()); err != nil {
			os.Remove(out.Name())
			return
		}
		err = os.Rename(out.Name(), name)
	}()
	if err := copySparse(ctx, out, in, size); err != nil {
		return err
	}
	return errors.Join(out.Chmod(os.FileMode(st.Mode).Perm()), out.Sync())
}

// placedSlot is a slot and its place in an image.
type placedSlot struct {
	*io.SectionReader
	offset int64
	footer *footer.Footer
}

// slotsIn finds the slots of an image that hold something.
func slotsIn(f *os.File, size int64) ([]placedSlot, error) {
	image, err := inspect.Open(f, size, nil)
	if err != nil {
		return nil, hint.Add(err, "slipway sign --help")
	}
	var list []placedSlot
	for i := range image.Slots {
		s := &image.Slots[i]
		switch {
		case s.Empty:
			continue
		case s.Err != nil:
			return nil, fmt.Errorf("slot %s: %w", s.Label, s.Err)
		}
		offset, length := int64(0), size
		if image.Kind == inspect.Disk {
			p, _ := image.Table.ByLabel(s.Label)
			offset, length = p.Start*int64(image.Table.SectorSize), p.Size*int64(image.Table.SectorSize)
		}
		list = append(list, placedSlot{io.NewSectionReader(f, offset, length), offset, s.Footer})
	}
	if len(list) == 0 {
		return nil, errors.New("no slot holds anything")
	}
	return list, nil
}

// countersign gives the footer of a slot with more signatures, after every
// block of the slot has been checked against what is signed.
func countersign(ctx context.Context, s placedSlot, keys *signers) ([]byte, error) {
	ft := s.footer
	what := fmt.Sprintf("slot of %s %s", ft.Name, ft.Version)
	if err := keys.suit(ft.Development, what); err != nil {
		return nil, err
	}
	root, _ := hex.DecodeString(ft.RootHash) // the footer's reader has checked both
	salt, _ := hex.DecodeString(ft.Salt)
	if err := verity.Verify(ctx, s, ft.FSSize, s, ft.HashOffset, [32]byte(root), salt, 0); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	ctx = signing.About(ctx, fmt.Sprintf("slot footer of %s %s", ft.Name, ft.Version))
	return footer.Countersign(ctx, s, s.Size(), footerSigners(keys.image)...)
}
