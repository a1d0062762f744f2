package release

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Stage is a release being made, beside the place it will have.
type Stage struct {
	Dir   string // files are written here
	final string
	lock  *os.File
}

// ErrBusy says that another process is writing a release of the same channel.
var ErrBusy = errors.New("another build of this channel is running")

// NewStage makes an empty stage for <out>/<channel>/<version>. What a killed
// build of the channel left behind is removed first.
func NewStage(out, channel, version string) (*Stage, error) {
	parent := filepath.Join(out, channel)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return nil, err
	}
	lock, err := os.Open(parent)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("%s: %w", parent, ErrBusy)
	}
	s := &Stage{Dir: filepath.Join(parent, ".partial"), final: filepath.Join(parent, version), lock: lock}
	for _, left := range []string{s.Dir, s.old(), s.link()} {
		if err := os.RemoveAll(left); err != nil {
			return nil, errors.Join(err, lock.Close())
		}
	}
	if err := os.Mkdir(s.Dir, 0o755); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return s, nil
}

// Final is the place the release will have.
func (s *Stage) Final() string { return s.final }

func (s *Stage) old() string  { return s.Dir + ".old" }
func (s *Stage) link() string { return s.Dir + ".link" }

// Close removes what was not published and lets other builds of the channel
// go on.
func (s *Stage) Close() error { return errors.Join(os.RemoveAll(s.Dir), s.lock.Close()) }

// Publish writes release.json with its signatures and SHA256SUMS, puts the
// stage in its place, replacing a release of the same version, and points
// "current" to it. Without a signature by every signer nothing is published.
func (s *Stage) Publish(ctx context.Context, info *Info, signers ...Signer) (string, error) {
	if err := s.Replace(ctx, info, signers...); err != nil {
		return "", err
	}
	return s.Link()
}

// Replace is Publish, but leaves "current" as it is.
func (s *Stage) Replace(ctx context.Context, info *Info, signers ...Signer) error {
	if err := s.Sign(ctx, info, signers...); err != nil {
		return err
	}
	return s.Place()
}

// Sign writes release.json with its signatures and SHA256SUMS into the stage.
func (s *Stage) Sign(ctx context.Context, info *Info, signers ...Signer) error {
	manifest, err := info.Encode()
	if err != nil {
		return err
	}
	signatures, err := sign(ctx, manifest, signers)
	if err != nil {
		return err
	}
	for name, data := range map[string][]byte{
		Manifest: manifest, Signatures: signatures, Sums: sums(info, manifest),
	} {
		if err := os.WriteFile(filepath.Join(s.Dir, name), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Place puts the stage, which is signed, in its place, and replaces a release
// of the same version.
func (s *Stage) Place() error {
	err := os.Rename(s.final, s.old())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(s.Dir, s.final); err != nil {
		return err
	}
	return os.RemoveAll(s.old())
}

// Link points "current" to the version of the stage.
func (s *Stage) Link() (string, error) {
	if err := os.Symlink(filepath.Base(s.final), s.link()); err != nil {
		return "", err
	}
	return s.final, os.Rename(s.link(), filepath.Join(filepath.Dir(s.final), "current"))
}

// sums is what "sha256sum --check" reads: every file whose digest is known.
func sums(info *Info, manifest []byte) []byte {
	var b bytes.Buffer
	for _, e := range info.Files {
		if e.SHA256 != "" {
			fmt.Fprintf(&b, "%s  %s\n", e.SHA256, e.Name)
		}
	}
	fmt.Fprintf(&b, "%x  %s\n", sha256.Sum256(manifest), Manifest)
	return b.Bytes()
}
