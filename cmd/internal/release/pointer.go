package release

import (
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// PointerFile is the file in the directory of a channel that says which
// release the channel gives: a document with a Pointer.
const PointerFile = "channel.json"

// Pointer says which release a channel gives. What it is signed for is that a
// mirror can neither move a channel nor bring back an older pointer: whoever
// remembers the highest sequence number seen refuses lower ones.
type Pointer struct {
	Format  int    `json:"format"` // 1
	Name    string `json:"name"`   // of the system
	Channel string `json:"channel"`
	Version string `json:"version"`
	// Release is the SHA-256 digest of the version's release.json, in hex.
	Release  string `json:"release_sha256"`
	From     string `json:"promoted_from"` // channel
	Date     string `json:"date"`          // RFC 3339
	Sequence int64  `json:"sequence"`      // from 1, one more with each change
}

// Validate checks that everything is there and has the form it must have.
func (p *Pointer) Validate() error {
	sum, err := hex.DecodeString(p.Release)
	switch {
	case p.Format != 1:
		return fmt.Errorf("pointer: format %d, want 1", p.Format)
	case !isName(p.Channel):
		return fmt.Errorf("pointer: channel %.40q: not a name", p.Channel)
	case !isName(p.Version):
		return fmt.Errorf("pointer: version %.40q: not a name", p.Version)
	case err != nil || len(sum) != 32:
		return fmt.Errorf("pointer: release_sha256 %.80q: not a SHA-256 digest", p.Release)
	case p.Sequence < 1:
		return fmt.Errorf("pointer: sequence %d: less than 1", p.Sequence)
	}
	return nil
}

// isName says whether a text names one directory.
func isName(s string) bool {
	return s != "" && !strings.HasPrefix(s, ".") && !strings.ContainsAny(s, `/\`) && len(s) < 128
}

// NewPointer prepares a pointer for signing.
func NewPointer(p *Pointer) (*Document[*Pointer], error) { return newDocument("pointer", p) }

// ReadPointer reads the pointer of a channel's directory without verifying it;
// the error wraps fs.ErrNotExist if the channel has none. A pointer that names
// another channel is an error.
func ReadPointer(dir string) (*Document[*Pointer], error) {
	name := filepath.Join(dir, PointerFile)
	d, err := readDocument(name, "pointer", new(Pointer))
	if err != nil {
		return nil, err
	}
	channel, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if base := filepath.Base(channel); base != d.Body.Channel {
		return nil, fmt.Errorf("%s: is the pointer of channel %q, not of %q", name, d.Body.Channel, base)
	}
	return d, nil
}

// ErrReplaced says that a release is not the one that a pointer names.
var ErrReplaced = errors.New("not the release that the pointer names")

// ReadNamed reads the release.json that a pointer names, in a channel's
// directory. The pointer's signature covers it.
func (p *Pointer) ReadNamed(dir string) (*Info, error) {
	name := filepath.Join(dir, p.Version, Manifest)
	text, err := readBounded(name)
	if err != nil {
		return nil, err
	}
	if got := Sum(text); got != p.Release {
		return nil, fmt.Errorf("%s: digest %.16s, %s says %.16s: %w", name, got, PointerFile, p.Release, ErrReplaced)
	}
	info, err := parse(text, name)
	if err == nil && (info.Channel != p.Channel || info.Version != p.Version) {
		err = fmt.Errorf("%s: of channel %q and version %s, %s names %q and %s", name, info.Channel, info.Version,
			PointerFile, p.Channel, p.Version)
	}
	return info, err
}

// WritePointer puts a signed pointer into the directory of its channel.
func WritePointer(dir string, d *Document[*Pointer]) error {
	return d.write(filepath.Join(dir, PointerFile))
}
