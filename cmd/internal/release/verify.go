package release

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// Check compares one file of a release with its entry. Of the disk image it
// compares the digest by chunks, which covers every byte.
func (e *Entry) Check(dir string, workers int) error {
	name := filepath.Join(dir, e.Name)
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if st.Size() != e.Size {
		return fmt.Errorf("%s: %d bytes, %s says %d", name, st.Size(), Manifest, e.Size)
	}
	want, got := e.Chunks, ""
	if e.Chunks != "" {
		got, err = chunks(f, e.Size, workers)
	} else {
		want = e.SHA256
		h := sha256.New()
		_, err = io.Copy(h, f)
		got = hex.EncodeToString(h.Sum(nil))
	}
	if err == nil && got != want {
		err = fmt.Errorf("%s: digest %.16s, %s says %.16s", name, got, Manifest, want)
	}
	return err
}

// Strangers lists the files of a release directory that its release.json does
// not name, but for those about release.json itself.
func (i *Info) Strangers(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var list []string
	for _, entry := range entries {
		name := entry.Name()
		listed := slices.ContainsFunc(i.Files, func(e Entry) bool { return e.Name == name })
		if !listed && !slices.Contains([]string{Manifest, Signatures, Sums, EvidenceFile}, name) {
			list = append(list, name)
		}
	}
	return list, nil
}
