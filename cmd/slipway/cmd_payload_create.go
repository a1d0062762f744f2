package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v2"

	"slipway/build/tools"
	"slipway/cmd/internal/hint"
	"slipway/cmd/internal/release"
	"slipway/cmd/internal/report"
	"slipway/signing/payload"
)

const payloadCreateHelp = `Makes a full payload of NEW, or with --from a delta payload from OLD to NEW, and
writes it to update.payload or update-from-VERSION.payload in the working
directory, or to the file named by -o. Level release packs with zstd -19 (half a
minute for 100 MB), level development in two seconds and a third larger;
without --level it is as the image was made.`

// Levels of packing.
const (
	levelRelease     = "release"
	levelDevelopment = "development"
)

func payloadCreateCommand() *cli.Command {
	return &cli.Command{
		Name:        "create",
		Usage:       "make a payload of a release",
		ArgsUsage:   "NEW",
		Description: payloadCreateHelp,
		Flags: append(signFlags(),
			&cli.StringFlag{Name: "from", Usage: "make a delta payload that leads from the release or slot image `OLD`"},
			&cli.StringFlag{Name: "o", Usage: "write the payload to `FILE`"},
			&cli.StringFlag{Name: "level", Usage: "pack for `LEVEL` release or development"},
			&cli.StringFlag{Name: "minimum-version", Usage: "machines of a version older than `VERSION` must not apply it"},
			&cli.StringFlag{Name: "mirror", Usage: "fetch the packing program from the Debian mirror `URL`"},
			&cli.IntFlag{Name: "jobs", Usage: "pack with `N` workers instead of one for each processor"},
			jsonFlag(),
		),
		Action: runPayloadCreate,
	}
}

// createMemory is what the collector aims at while a payload is made, bytes: a
// delta takes most of it for the kernel.
const createMemory = 900 << 20

func runPayloadCreate(c *cli.Context) (err error) {
	if err := arguments(c, 1, 1); err != nil {
		return err
	}
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(createMemory))
	w, err := openWorkspace()
	if err != nil {
		return err
	}
	o := &payloadOptions{minimum: c.String("minimum-version"), workers: c.Int("jobs")}
	if o.minimum != "" {
		if err := checkVersion(o.minimum); err != nil {
			return hint.Usagef("payload create: --minimum-version %q: not MAJOR.MINOR.PATCH", o.minimum)
		}
	}
	if o.workers < 1 {
		o.workers = runtime.NumCPU()
	}
	if o.new, err = openSlot(c.Args().First()); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.new.Close()) }()
	if from := c.String("from"); from != "" {
		if o.old, err = openSlot(from); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, o.old.Close()) }()
	}

	rep := newReport(c)
	defer rep.Close()
	o.rep = rep
	sign := readSignOptions(c)
	keys, err := openSigners(c.Context, w, sign, rep)
	if err != nil {
		return err
	}
	o.signers = keys.payload
	if err := o.sameKind(keys); err != nil {
		return err
	}
	level := c.String("level")
	if level == "" && keys.development {
		level = levelDevelopment
	}
	var closeTools func() error
	o.compress, closeTools, err = openCompressor(c.Context, w, level, c.String("mirror"), rep)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeTools()) }()
	name := c.String("o")
	if name == "" {
		name = payloadName(o.old)
	}
	m, err := makePayload(c.Context, name, o)
	if err != nil {
		return keys.explain(err)
	}
	rep.Close()
	if c.Bool("json") {
		rep.Result(map[string]any{"payload": name, "size": m.size, "version": m.Info.Version})
		return nil
	}
	fmt.Fprintln(c.App.Writer, name)
	return nil
}

// payloadName is what a payload is called in a release.
func payloadName(old *slotFile) string {
	if old == nil {
		return release.Payload
	}
	return "update-from-" + old.footer.Version + ".payload"
}

// sameKind refuses to sign a development image for release, and the other way
// round: everything about a version says the same.
func (o *payloadOptions) sameKind(keys *signers) error {
	switch name := o.new.Name(); {
	case o.new.footer.Development && !keys.development:
		return hint.Add(fmt.Errorf("%s: a development image, the keys are for releases", name),
			"slipway build --key REF signs the image with keys for releases")
	case !o.new.footer.Development && keys.development:
		return hint.Add(fmt.Errorf("%s: an image for release, the keys are for development", name), "--key REF or --keys DIR")
	}
	return nil
}

// openCompressor gives what packs operations, and what closes it.
func openCompressor(ctx context.Context, w *workspace, level, mirror string, rep *report.Report) (payload.Compressor, func() error, error) {
	switch level {
	case levelDevelopment:
		fast, err := payload.Fast()
		return fast, func() error { return nil }, err
	case levelRelease, "":
	default:
		return nil, nil, hint.Add(hint.Usagef("payload create: --level %q: unknown", level), "--level release or development")
	}
	config, err := loadConfig(w.root, "alpha", nil)
	if err != nil {
		return nil, nil, err
	}
	packages, err := openPackages(w, mirror, false, runtime.NumCPU(), rep)
	if err != nil {
		return nil, nil, err
	}
	programs, err := packages.tools(ctx, "payload", config)
	if err != nil {
		return nil, nil, errors.Join(err, packages.Close())
	}
	return zstdProgram(programs), packages.Close, nil
}

// zstdProgram packs with the pinned zstd at its best usual level.
func zstdProgram(programs *tools.Tree) payload.Compressor {
	return payload.Checked(func(ctx context.Context, src []byte) ([]byte, error) {
		cmd := programs.Command(ctx, "zstd", "-19", "--single-thread", "--no-check", "--quiet",
			"--stdout", fmt.Sprintf("--stream-size=%d", len(src)))
		var out, problems bytes.Buffer
		cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(src), &out, &problems
		if err := cmd.Run(); err != nil {
			return nil, fmt.Errorf("zstd: %w: %s", err, bytes.TrimSpace(problems.Bytes()))
		}
		return out.Bytes(), nil
	})
}
