package release

import (
	"context"
	"crypto/sha256"
	"errors"
	"io/fs"
	"path/filepath"

	"slipway/cmd/internal/durable"
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
	added, err := signDigest(ctx, Manifest, sha256.Sum256(manifest), signers)
	if err != nil {
		return err
	}
	if list, err = replaceSignatures(Signatures, list, added); err != nil {
		return err
	}
	text, err := encodeSignatures(list)
	if err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(dir, Signatures), text)
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
