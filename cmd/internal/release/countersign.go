package release

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// Countersign adds signatures to the release.json of a directory, in place of
// older ones by the same keys.
func Countersign(ctx context.Context, dir string, signers ...Signer) error {
	manifest, err := readBounded(filepath.Join(dir, Manifest))
	if err != nil {
		return err
	}
	list, err := ReadSignatures(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	text, err := sign(ctx, manifest, signers)
	if err != nil {
		return err
	}
	var added []Signature
	if err := json.Unmarshal(text, &added); err != nil {
		return fmt.Errorf("internal error: %w", err)
	}
	list = append(slices.DeleteFunc(list, func(old Signature) bool {
		return slices.ContainsFunc(added, func(s Signature) bool { return s.KeyID == old.KeyID })
	}), added...)
	if len(list) > maxSignatures {
		return fmt.Errorf("%s: %d signatures, want at most %d", Signatures, len(list), maxSignatures)
	}
	if text, err = encodeSignatures(list); err != nil {
		return err
	}
	aside := filepath.Join(dir, "."+Signatures+".new")
	if err := os.WriteFile(aside, text, 0o644); err != nil {
		return err
	}
	return os.Rename(aside, filepath.Join(dir, Signatures))
}

// NewStageFor makes a stage that takes the place of the release in dir.
func NewStageFor(dir string) (*Stage, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, err
	}
	channel := filepath.Dir(dir)
	return NewStage(filepath.Dir(channel), filepath.Base(channel), filepath.Base(dir))
}
