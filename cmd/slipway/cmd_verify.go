package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/urfave/cli/v2"

	"slipway/build/disk"
	"slipway/build/fat"
	"slipway/build/tree"
	"slipway/build/verity"
	"slipway/cmd/internal/hint"
	"slipway/cmd/internal/inspect"
	"slipway/cmd/internal/release"
	"slipway/cmd/internal/report"
	"slipway/partitions"
	"slipway/signing/footer"
	"slipway/signing/keyset"
)

const verifyHelp = `Checks a whole release directory with the public keys given, without network:
the signatures of release.json, every file against it, the signature and every
block of the slot image, that the disk image holds that very slot and starts
its kernel, and the signatures of payloads. Nothing else may lie in it but the
evidence of tests, whose signatures are checked too. If the channel has a signed
pointer to this release, channel.json, that is checked; RELEASE may also be the
directory of such a channel.`

func verifyCommand() *cli.Command {
	return &cli.Command{
		Name:        "verify",
		Usage:       "check every signature and digest of a release",
		ArgsUsage:   "RELEASE",
		Description: verifyHelp,
		Flags:       []cli.Flag{pubFlag(), jsonFlag()},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 1, 1); err != nil {
				return err
			}
			accept, err := readAccepted(c)
			if err != nil {
				return err
			}
			if accept.none() {
				return hint.Add(hint.Usagef("verify: --pub missing: whose signature counts?"),
					"slipway keys export, or openssl pkey -in KEY.pem -pubout -out PUB.pem, then --pub PUB.pem")
			}
			rep := newReport(c)
			v := &verifier{dir: c.Args().First(), accept: accept, rep: rep}
			err = v.run(c.Context)
			rep.Close()
			if err != nil {
				return err
			}
			rep.Result(map[string]any{"release": v.dir, "version": v.info.Version, "signed_by": v.signedBy})
			return nil
		},
	}
}

// verifier checks one release.
type verifier struct {
	dir      string
	accept   *accepted
	rep      *report.Report
	info     *release.Info
	signedBy []string
	footer   *footer.Footer
}

func (v *verifier) run(ctx context.Context) error {
	steps := []struct {
		name  string
		check func(context.Context) (string, error)
	}{
		{release.Manifest, v.manifest},
		{"files", v.files},
		{release.Slot, v.slot},
		{release.Disk, v.disk},
		{"payloads", v.payloads},
		{release.EvidenceFile, v.evidence},
		{release.PointerFile, v.pointer},
	}
	if err := v.follow(); err != nil {
		return err
	}
	for _, s := range steps {
		step := v.rep.Step(s.name)
		said, err := s.check(ctx)
		if err != nil {
			return hint.Add(err, "fetch the release again; slipway inspect shows what a file claims to be")
		}
		step.Done("%s", said)
	}
	return nil
}

// follow takes the release that a channel's pointer names, if the directory is
// a channel's. The pointer itself is checked at the end.
func (v *verifier) follow() error {
	if _, err := os.Stat(filepath.Join(v.dir, release.Manifest)); err == nil {
		return nil
	}
	d, err := release.ReadPointer(v.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // no release either, as is said next
	}
	if err == nil {
		v.dir = filepath.Join(v.dir, d.Body.Version)
	}
	return err
}

// manifest comes first: what it says is believed only when it is signed.
func (v *verifier) manifest(context.Context) (_ string, err error) {
	v.info, v.signedBy, err = release.ReadSigned(v.dir, v.accept.as(keyset.Payload))
	if err != nil {
		return "", v.accept.explain(err)
	}
	strangers, err := v.info.Strangers(v.dir)
	for _, name := range strangers {
		if isDelta, _ := filepath.Match(release.Deltas, name); isDelta {
			continue // made later, and signed by itself
		}
		err = errors.Join(err, fmt.Errorf("%s: not named by %s", filepath.Join(v.dir, name), release.Manifest))
	}
	return fmt.Sprintf("%s %s %s, signed by %s", v.info.Name, v.info.Version, v.info.Architecture, strings.Join(v.signedBy, ", ")), err
}

func (v *verifier) files(ctx context.Context) (string, error) {
	var size int64
	for _, e := range v.info.Files {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		if err := e.Check(v.dir, runtime.NumCPU()); err != nil {
			return "", err
		}
		size += e.Size
	}
	return fmt.Sprintf("%d files, %s", len(v.info.Files), megabytes(size)), nil
}

func (v *verifier) slot(ctx context.Context) (string, error) {
	f, size, err := openImage(filepath.Join(v.dir, release.Slot))
	if err != nil {
		return "", err
	}
	defer f.Close()
	ft, err := footer.Read(f, size, v.accept.as(keyset.Image))
	if err != nil {
		return "", fmt.Errorf("%s: %w", release.Slot, v.accept.explain(err))
	}
	if ft.Version != v.info.Version || ft.RootHash != v.info.RootHash {
		return "", fmt.Errorf("%s: is version %s with root hash %.16s, %s says %s and %.16s", release.Slot,
			ft.Version, ft.RootHash, release.Manifest, v.info.Version, v.info.RootHash)
	}
	root, _ := hex.DecodeString(ft.RootHash) // the footer's reader has checked both
	salt, _ := hex.DecodeString(ft.Salt)
	err = verity.Verify(ctx, f, ft.FSSize, f, ft.HashOffset, [32]byte(root), salt, 0)
	if err != nil {
		return "", fmt.Errorf("%s: %w", release.Slot, err)
	}
	v.footer = ft
	return fmt.Sprintf("every block as signed, root hash %.16s", ft.RootHash), nil
}

// disk checks that the disk image starts what the slot image is. That its
// bytes are those of the build, its digest has shown.
func (v *verifier) disk(context.Context) (string, error) {
	f, size, err := openImage(filepath.Join(v.dir, release.Disk))
	if err != nil {
		return "", err
	}
	defer f.Close()
	image, err := inspect.Open(f, size, v.accept.as(keyset.Image))
	if err != nil {
		return "", fmt.Errorf("%s: %w", release.Disk, err)
	}
	active, err := image.Active()
	if err != nil {
		return "", fmt.Errorf("%s: %w", release.Disk, err)
	}
	if active.Footer == nil || active.Footer.RootHash != v.footer.RootHash {
		return "", fmt.Errorf("%s: slot %s is not %s", release.Disk, active.Label, release.Slot)
	}
	if err := v.ofChannel(f, image.Table); err != nil {
		return "", fmt.Errorf("%s: %w", release.Disk, err)
	}
	esp, ok := image.Table.ByLabel(disk.LabelESP)
	if !ok {
		return "", fmt.Errorf("%s: no partition %s", release.Disk, disk.LabelESP)
	}
	unit := int64(image.Table.SectorSize)
	files, err := fat.Open(io.NewSectionReader(f, esp.Start*unit, esp.Size*unit), esp.Size*unit)
	if err != nil {
		return "", fmt.Errorf("%s: %s: %w", release.Disk, disk.LabelESP, err)
	}
	stage1 := files.Lookup(disk.BootPath)
	if stage1 == nil || stage1.Type != tree.File {
		return "", fmt.Errorf("%s: %s: no %s", release.Disk, disk.LabelESP, disk.BootPath)
	}
	sum := stage1.Blob.SHA256()
	if hex.EncodeToString(sum[:]) != v.footer.UKI.SHA256 {
		return "", fmt.Errorf("%s: %s: %s is not the kernel of the slot", release.Disk, disk.LabelESP, disk.BootPath)
	}
	return fmt.Sprintf("starts %s in %s", v.footer.Version, active.Label), nil
}

// ofChannel checks that a disk follows the channel of its release.
func (v *verifier) ofChannel(f io.ReaderAt, table *partitions.Table) error {
	oem, ok := table.ByLabel(disk.LabelOEM)
	if !ok {
		return nil // its machine says the channel otherwise
	}
	unit := int64(table.SectorSize)
	files, err := fat.Open(io.NewSectionReader(f, oem.Start*unit, oem.Size*unit), oem.Size*unit)
	if err != nil {
		return fmt.Errorf("%s: %w", disk.LabelOEM, err)
	}
	conf := files.Lookup(disk.ChannelPath)
	if conf == nil || conf.Type != tree.File {
		return nil
	}
	want := disk.ChannelConf(v.info.Channel)
	if sum := sha256.Sum256(want); conf.Blob.SHA256() != sum {
		return fmt.Errorf("%s: %s is not that of channel %q", disk.LabelOEM, disk.ChannelPath, v.info.Channel)
	}
	return nil
}

// payloads checks that each leads to this very version.
func (v *verifier) payloads(ctx context.Context) (string, error) {
	names, err := filepath.Glob(filepath.Join(v.dir, release.Deltas))
	if err != nil {
		return "", err
	}
	full := filepath.Join(v.dir, release.Payload)
	if _, err := os.Stat(full); err == nil {
		names = append(names, full)
	}
	for _, name := range names {
		if err := v.payload(ctx, name); err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
	}
	return fmt.Sprintf("%d, to %s", len(names), v.info.Version), nil
}

func (v *verifier) payload(ctx context.Context, name string) error {
	f, size, err := openPayload(name)
	if err != nil {
		return err
	}
	defer f.Close()
	m, _, err := verifyPayload(ctx, io.NewSectionReader(f, 0, size), payloadKeys(v.accept.as(keyset.Payload)))
	if err != nil {
		return err
	}
	if m.Info.RootHash != v.info.RootHash {
		return fmt.Errorf("leads to version %s with root hash %.16s, %s says %s and %.16s",
			m.Info.Version, m.Info.RootHash, release.Manifest, v.info.Version, v.info.RootHash)
	}
	return nil
}
