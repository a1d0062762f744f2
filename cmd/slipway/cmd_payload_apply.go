package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"github.com/urfave/cli/v2"

	"slipway/cmd/internal/hint"
	"slipway/signing/keyset"
	"slipway/signing/payload"
	"slipway/signing/payload/patch"
)

const payloadVerifyHelp = `Checks with the public keys given that the payload is signed, and that every
byte of it is what was signed.`

func payloadVerifyCommand() *cli.Command {
	return &cli.Command{
		Name:        "verify",
		Usage:       "check the signatures and digests of a payload",
		ArgsUsage:   "PAYLOAD",
		Description: payloadVerifyHelp,
		Flags:       []cli.Flag{pubFlag(), jsonFlag()},
		Action:      runPayloadVerify,
	}
}

func runPayloadVerify(c *cli.Context) error {
	keys, err := payloadArguments(c, true)
	if err != nil {
		return err
	}
	f, size, err := openPayload(c.Args().First())
	if err != nil {
		return err
	}
	defer f.Close()
	rep := newReport(c)
	defer rep.Close()
	step := rep.Step("payload")
	m, id, err := verifyPayload(c.Context, io.NewSectionReader(f, 0, size), keys)
	if err != nil {
		step.Fail()
		return hint.Add(fmt.Errorf("%s: %w", f.Name(), err), "fetch the payload again; slipway payload inspect shows who signed it")
	}
	step.Done("%s %s %s, signed by %s", m.Info.Name, m.Info.Version, m.Info.Architecture, id)
	rep.Result(map[string]any{"payload": f.Name(), "version": m.Info.Version, "signed_by": id})
	return nil
}

// payloadArguments checks the command line and reads the keys that count.
func payloadArguments(c *cli.Context, needKeys bool) ([]payload.Key, error) {
	if err := arguments(c, 1, 1); err != nil {
		return nil, err
	}
	accept, err := readAccepted(c)
	if err != nil {
		return nil, err
	}
	keys := accept.as(keyset.Payload)
	if len(keys) == 0 && needKeys {
		return nil, hint.Add(hint.Usagef("%s: --pub missing: whose signature counts?", commandName(c)),
			"slipway keys export, or openssl pkey -in KEY.pem -pubout -out PUB.pem, then --pub PUB.pem")
	}
	return payloadKeys(keys), nil
}

func openPayload(name string) (*os.File, int64, error) {
	st, err := os.Stat(name)
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s: not a file", name)
	}
	if err != nil {
		return nil, 0, hint.Add(err, "slipway payload create RELEASE makes a payload")
	}
	f, err := os.Open(name)
	return f, st.Size(), err
}

// verifyPayload reads a whole payload and gives the key that signed it.
func verifyPayload(ctx context.Context, f io.Reader, keys []payload.Key) (*payload.Manifest, string, error) {
	r, err := payload.NewReader(f, keys)
	if err != nil {
		return nil, "", err
	}
	for {
		if err := ctx.Err(); err != nil {
			return nil, "", err
		}
		if _, _, err := r.Next(); err == io.EOF {
			break
		} else if err != nil {
			return nil, "", err
		}
	}
	id, err := r.Finish(keys)
	return r.Manifest, id, err
}

const payloadApplyHelp = `Writes the slot image that the payload leads to, as a machine would: to FILE, or
to a partition. A delta payload needs the slot image or release it leads from.
With --pub the signatures are checked; without, they are not, and the image is
for trying out.`

func payloadApplyCommand() *cli.Command {
	return &cli.Command{
		Name:        "apply",
		Usage:       "write the slot image that a payload leads to",
		ArgsUsage:   "PAYLOAD",
		Description: payloadApplyHelp,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "source", Usage: "the release or slot image `OLD` that a delta payload leads from"},
			&cli.StringFlag{Name: "target", Usage: "write to `FILE`, which is made, or to a partition"},
			pubFlag(), jsonFlag(),
		},
		Action: runPayloadApply,
	}
}

// applyMemory is what the collector aims at while a payload is applied, bytes.
const applyMemory = 72 << 20

func runPayloadApply(c *cli.Context) (err error) {
	keys, err := payloadArguments(c, false)
	if err != nil {
		return err
	}
	if c.String("target") == "" {
		return hint.Add(hint.Usagef("payload apply: --target missing: where to?"), "--target new-usr.img")
	}
	f, _, err := openPayload(c.Args().First())
	if err != nil {
		return err
	}
	defer f.Close()
	// What the payload says of itself decides how large the target is made;
	// Apply reads it again and verifies it.
	m, err := payload.InspectMetadata(f)
	if err != nil {
		return hint.Add(fmt.Errorf("%s: %w", f.Name(), err), "slipway payload create RELEASE makes a payload")
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	// What an update takes must not depend on the collector's mood.
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(applyMemory))
	rep := newReport(c)
	defer rep.Close()
	if len(keys) == 0 {
		rep.Warn("no --pub: nobody vouches for what is written")
		keys = believe(m)
	}
	o := &payload.ApplyOptions{Keys: keys, HashTree: makeHashTree, Patch: new(patch.Applier).Apply}
	if m.Manifest.Delta() {
		source, err := openSource(c.String("source"), m.Manifest)
		if err != nil {
			return err
		}
		defer source.Close()
		o.Source, o.SourceSize = source, source.size
	}
	target, err := openTarget(c.String("target"), m.Manifest.New.Size)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, target.close(err == nil)) }()
	o.Target, o.TargetSize, o.ReadBack = target, target.size, holeReader{target.File}

	step := rep.Step("payload")
	o.Progress = step.Progress
	if _, err := payload.Apply(c.Context, f, o); err != nil {
		step.Fail()
		return hint.Add(fmt.Errorf("%s: %w", f.Name(), err), "slipway payload inspect %s shows what it leads from and who signed it", f.Name())
	}
	step.Done("%s %s, root hash %.16s", m.Manifest.Info.Name, m.Manifest.Info.Version, m.Manifest.Info.RootHash)
	rep.Close()
	if c.Bool("json") {
		rep.Result(map[string]any{"target": c.String("target"), "version": m.Manifest.Info.Version})
		return nil
	}
	fmt.Fprintln(c.App.Writer, c.String("target"))
	return nil
}

// believe makes keys that accept whatever the payload is signed with: for
// trying out, where the user asked for it by naming no key.
func believe(m *payload.Metadata) []payload.Key {
	var keys []payload.Key
	for _, s := range m.Signatures {
		keys = append(keys, payload.Key{ID: s.KeyID, Verify: func([32]byte, []byte) bool { return true }})
	}
	return keys
}

func openSource(name string, m *payload.Manifest) (*slotFile, error) {
	if name == "" {
		return nil, hint.Add(hint.Usagef("payload apply: --source missing: a delta payload from version %s", m.Info.SourceVersion),
			"--source RELEASE of version %s", m.Info.SourceVersion)
	}
	s, err := openSlot(name)
	if err != nil {
		return nil, err
	}
	if s.footer.RootHash != m.Info.SourceRootHash {
		err := fmt.Errorf("%s: is version %s, root hash %.16s; the payload leads from version %s, root hash %.16s",
			s.Name(), s.footer.Version, s.footer.RootHash, m.Info.SourceVersion, m.Info.SourceRootHash)
		return nil, errors.Join(hint.Add(err, "--source RELEASE of version %s", m.Info.SourceVersion), s.Close())
	}
	return s, nil
}
