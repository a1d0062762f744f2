package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"slipway/build/verity"
	"slipway/cmd/internal/hint"
	"slipway/cmd/internal/inspect"
	"slipway/cmd/internal/release"
	"slipway/signing"
	"slipway/signing/footer"
	"slipway/signing/key"
	"slipway/signing/payload"
)

const payloadHelp = `A payload brings a machine from any version (full), or from one version (delta),
to a new one: the CrAU format of Android and ChromeOS, signed. OLD and NEW are
release directories or slot images (usr.img).`

func payloadCommand() *cli.Command {
	return &cli.Command{
		Name:        "payload",
		Usage:       "make, look into, check and apply update payloads",
		Description: payloadHelp,
		Subcommands: []*cli.Command{
			payloadCreateCommand(), payloadInspectCommand(), payloadVerifyCommand(), payloadApplyCommand(),
		},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return hint.Add(hint.Usagef("payload %q: unknown", c.Args().First()), "slipway payload --help")
			}
			return cli.ShowSubcommandHelp(c)
		},
	}
}

// slotFile is an opened slot image.
type slotFile struct {
	holeReader
	size   int64
	footer *footer.Footer
}

// openSlot opens a slot image, by itself or in a release directory. What its
// footer says is not verified.
func openSlot(name string) (*slotFile, error) {
	if st, err := os.Stat(name); err == nil && st.IsDir() {
		dir := name
		name = filepath.Join(dir, release.Slot)
		if _, err := os.Stat(name); err != nil {
			return nil, hint.Add(fmt.Errorf("%s: no release: there is no %s", dir, release.Slot),
				"slipway build makes a release and prints its directory")
		}
	}
	f, size, err := openImage(name)
	if err != nil {
		return nil, err
	}
	image, err := inspect.Open(f, size, nil)
	switch {
	case err != nil:
	case image.Kind != inspect.Slot:
		err = fmt.Errorf("it is a %s", image.Kind)
	default:
		err = image.Slots[0].Err
	}
	if err != nil {
		err = errors.Join(fmt.Errorf("%s: %w", name, err), f.Close())
		return nil, hint.Add(err, "name a release directory, or the usr.img in it")
	}
	return &slotFile{holeReader{f}, size, image.Slots[0].Footer}, nil
}

// check compares the slot image with its own hash tree.
func (s *slotFile) check(ctx context.Context, workers int) error {
	root, salt, err := s.verity()
	if err == nil {
		err = verity.Verify(ctx, s, s.footer.FSSize, s, s.footer.HashOffset, root, salt, workers)
	}
	if err != nil {
		return hint.Add(fmt.Errorf("%s: %w", s.Name(), err), "the image is damaged: build or fetch it again")
	}
	return nil
}

// payloadKeys are public keys as package payload wants them.
func payloadKeys(keys []key.Key) []payload.Key {
	list := make([]payload.Key, len(keys))
	for i, k := range keys {
		list[i] = payload.Key{ID: k.ID, Verify: k.VerifyDigest}
	}
	return list
}

// payloadSigners are signers as package payload wants them.
func payloadSigners(list []signing.Signer) []payload.Signer {
	out := make([]payload.Signer, len(list))
	for i, s := range list {
		out[i] = s
	}
	return out
}

// makeHashTree is the hash-tree function of payload.Apply.
func makeHashTree(ctx context.Context, data io.ReaderAt, size int64, salt []byte, tree io.WriterAt) error {
	_, err := verity.Format(ctx, data, size, tree, 0, &verity.Options{Salt: salt, TreeOnly: true})
	return err
}
