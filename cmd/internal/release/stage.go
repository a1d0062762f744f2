package release

import (
	"encoding/json"
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

func (s *Stage) old() string  { return s.Dir + ".old" }
func (s *Stage) link() string { return s.Dir + ".link" }

// Close removes what was not published and lets other builds of the channel
// go on.
func (s *Stage) Close() error { return errors.Join(os.RemoveAll(s.Dir), s.lock.Close()) }

// Publish writes release.json, puts the stage in its place, replacing a
// release of the same version, and points "current" to it.
func (s *Stage) Publish(info *Info) (string, error) {
	data, err := json.MarshalIndent(info, "", "  ")
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(s.Dir, Manifest), append(data, '\n'), 0o644); err != nil {
		return "", err
	}
	err = os.Rename(s.final, s.old())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if err := os.Rename(s.Dir, s.final); err != nil {
		return "", err
	}
	if err := os.Symlink(filepath.Base(s.final), s.link()); err != nil {
		return "", err
	}
	if err := os.Rename(s.link(), filepath.Join(filepath.Dir(s.final), "current")); err != nil {
		return "", err
	}
	return s.final, os.RemoveAll(s.old())
}
