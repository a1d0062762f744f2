// Package release keeps the directories that hold finished builds:
// <out>/<channel>/<version>/ with a release.json that lists every file, and
// <out>/<channel>/current, a link to the newest. A release appears whole, by
// one rename, or not at all. A channel that releases are promoted to has a
// signed pointer too, channel.json (see [Pointer]), and a release may have
// signed results of tests beside it, evidence.json (see [Evidence]). The package does
// not build, test or promote anything.
package release

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// The names of the files in a release directory.
const (
	Disk     = "slipway.img"
	Slot     = "usr.img"
	UKI      = "boot.efi"
	Lock     = "packages.lock"
	Manifest = "release.json"
	Sums     = "SHA256SUMS"
	Log      = "build.log"
	// EvidenceFile is there if results of tests were recorded.
	EvidenceFile = "evidence.json"
	Payload      = "update.payload"
	// Deltas matches the payloads that lead from one version, which may be put
	// into a release after it was signed.
	Deltas = "update-from-*.payload"
)

// ChunkSize is the unit of Entry.Chunks, in bytes.
const ChunkSize = 1 << 20

// Entry describes one file of a release.
type Entry struct {
	Name string `json:"name"`
	Size int64  `json:"size"` // bytes
	// SHA256 is the digest of the whole file in hex. The disk image of a
	// development release goes without: it is mostly holes, to hash which
	// takes longer than to make it.
	SHA256 string `json:"sha256,omitempty"`
	// Chunks is, of the disk image, the hex SHA-256 over the concatenated
	// SHA-256 digests of the file's 1 MiB chunks (the last may be shorter), so
	// that holes cost nothing.
	Chunks string `json:"chunks_sha256,omitempty"`
}

// Info is the content of release.json.
type Info struct {
	Format       int    `json:"format"` // 1
	Name         string `json:"name"`
	Version      string `json:"version"`
	Channel      string `json:"channel"`
	Architecture string `json:"architecture"`
	Date         string `json:"date"` // of the lock, RFC 3339
	Development  bool   `json:"development"`
	KeyID        string `json:"key_id"`
	RootHash     string `json:"root_hash"` // of the slot's verity tree
	Toolchain    string `json:"toolchain"` // Go release that compiled the on-host programs
	Inputs       string `json:"inputs"`    // hex SHA-256 over everything that went in
	// Promoted says which release this one was made of, if it is a promoted
	// one: the files are the same but for the channel named in the disk image.
	Promoted *Promotion `json:"promoted,omitempty"`
	Files    []Entry    `json:"files"`
}

// Promotion names the release that was promoted.
type Promotion struct {
	Channel string `json:"channel"`
	Release string `json:"release_sha256"` // of its release.json, in hex
}

// maxManifest bounds a release.json that is read, in bytes.
const maxManifest = 1 << 20

// Read reads the release.json of a release directory.
func Read(dir string) (*Info, error) {
	name := filepath.Join(dir, Manifest)
	text, err := readBounded(name)
	if err != nil {
		return nil, err
	}
	return parse(text, name)
}

func parse(text []byte, name string) (*Info, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	info := new(Info)
	if err := dec.Decode(info); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	for _, e := range info.Files {
		if e.Name != filepath.Base(e.Name) || e.Name == "." || e.Name == ".." {
			return nil, fmt.Errorf("%s: file %q: not a name in the directory", name, e.Name)
		}
	}
	return info, nil
}

// Encode gives the text of release.json.
func (i *Info) Encode() ([]byte, error) {
	text, err := json.MarshalIndent(i, "", "  ")
	return append(text, '\n'), err
}

// Complete says whether every listed file is there with the listed size.
func (i *Info) Complete(dir string) bool {
	for _, e := range i.Files {
		st, err := os.Stat(filepath.Join(dir, e.Name))
		if err != nil || st.Size() != e.Size {
			return false
		}
	}
	return true
}

// Digest is the SHA-256 digest of a directory's release.json, in hex, as
// Pointer.Release has it.
func Digest(dir string) (string, error) {
	text, err := readBounded(filepath.Join(dir, Manifest))
	return Sum(text), err
}

// Sum is the SHA-256 digest of a text, in hex.
func Sum(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// Describe fills an Entry from a file. Of the disk image it computes the digest
// by chunks, and that of the whole file only if whole is set.
func Describe(dir, name string, workers int, whole bool) (Entry, error) {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return Entry{}, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return Entry{}, err
	}
	e := Entry{Name: name, Size: st.Size()}
	if name == Disk {
		e.Chunks, err = chunks(f, st.Size(), workers)
		if err != nil || !whole {
			return e, err
		}
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return e, err
	}
	e.SHA256 = hex.EncodeToString(h.Sum(nil))
	return e, nil
}
