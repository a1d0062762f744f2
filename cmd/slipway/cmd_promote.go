package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/urfave/cli/v2"

	"slipway/cmd/internal/hint"
	"slipway/cmd/internal/release"
	"slipway/cmd/internal/report"
	"slipway/signing"
)

const promoteHelp = `Gives the machines of another channel the very bytes that a channel has proven.
The release is verified as by slipway verify, and its evidence.json has to say
that the tests passed on exactly these bytes and that none failed (slipway test
RELEASE records that; there is no way around it). Then it appears in the other
channel: the same files, a disk image that differs in the name of the channel
only, and a signed pointer, channel.json, which slipway serve obeys and slipway
verify checks. Nothing is built anew. The release directory is printed last.

The keys are named as for slipway build. What other keys have signed counts if
--pub names them.`

// requiredCases are the tests that every release has to pass before it is
// promoted: it boots on both firmwares, takes an update, refuses a damaged one,
// comes back from one that does not work, and from one with another kernel.
func requiredCases() []string {
	return []string{
		"TestBIOS", "TestUEFI", "TestUpdate/good-slot", "TestUpdate/corrupt-data", "TestUpdate/never-healthy",
		"TestUpdate/other-kernel-and-back",
	}
}

func promoteCommand() *cli.Command {
	return &cli.Command{
		Name:        "promote",
		Usage:       "give a release to another channel",
		Description: promoteHelp,
		Flags: append(signFlags(),
			&cli.StringFlag{Name: "from", Usage: "take the release of `CHANNEL`"},
			&cli.StringFlag{Name: "to", Usage: "give it to `CHANNEL`"},
			&cli.StringFlag{Name: "version", Usage: "take `VERSION` instead of the one the channel gives"},
			&cli.StringFlag{Name: "releases", Value: "out", Usage: "the directory of channels is `DIR`"},
			&cli.StringSliceFlag{Name: "require", Usage: "the test `CASE` too has to have passed; may be repeated"},
			&cli.StringFlag{Name: "time", Usage: "date the pointer `TIME`, as in 2026-11-20T12:00:00Z; else it has the date of the lock"},
			&cli.Int64Flag{Name: "sequence", Usage: "number the pointer `N`, where the last one got lost; else it is one more than that"},
			&cli.BoolFlag{Name: "allow-older", Usage: "take a channel back to an older version, for machines that come anew"},
			pubFlag(), jsonFlag(),
		),
		Action: func(c *cli.Context) error {
			if err := arguments(c, 0, 0); err != nil {
				return err
			}
			p, err := newPromotion(c)
			if err != nil {
				return err
			}
			defer p.rep.Close()
			dir, err := p.run(c.Context)
			if err != nil {
				return err
			}
			p.rep.Close()
			if c.Bool("json") {
				p.rep.Result(map[string]any{"release": dir, "version": p.info.Version, "channel": p.to, "sequence": p.sequence})
				return nil
			}
			fmt.Fprintln(c.App.Writer, dir)
			return nil
		},
	}
}

// promotion is one release on its way to another channel.
type promotion struct {
	releases, from, to, version, date string
	required                          []string
	allowOlder                        bool
	keys                              *signers
	accept                            *accepted
	rep                               *report.Report

	dir      string // of the release to promote
	info     *release.Info
	digest   string // of its release.json
	sequence int64
}

func newPromotion(c *cli.Context) (*promotion, error) {
	p := &promotion{
		releases: c.String("releases"), from: c.String("from"), to: c.String("to"), version: c.String("version"),
		date: c.String("time"), required: append(requiredCases(), c.StringSlice("require")...),
		allowOlder: c.Bool("allow-older"), sequence: c.Int64("sequence"),
	}
	if err := p.check(); err != nil {
		return nil, err
	}
	w, err := keysOnly()
	if err != nil {
		return nil, err
	}
	p.rep = newReport(c)
	if p.keys, err = openSigners(c.Context, w, readSignOptions(c), p.rep); err != nil {
		return nil, err
	}
	if p.accept, err = readAccepted(c); err != nil {
		return nil, err
	}
	p.accept.keys = append(p.accept.keys, publicHalves(p.keys.all())...)
	return p, nil
}

// check refuses a command line that makes no sense.
func (p *promotion) check() error {
	for name, channel := range map[string]string{"from": p.from, "to": p.to} {
		if channel == "" || filepath.Base(channel) != channel || channel[0] == '.' {
			return hint.Add(hint.Usagef("promote: --%s %q: not a channel", name, channel),
				"slipway promote --from alpha --to beta")
		}
	}
	if p.from == p.to {
		return hint.Add(hint.Usagef("promote: from %s to %s: the same channel", p.from, p.to),
			"slipway promote --from alpha --to beta")
	}
	if p.version != "" && checkVersion(p.version) != nil {
		return hint.Add(hint.Usagef("promote: --version %q: not MAJOR.MINOR.PATCH", p.version), "--version 4900.0.1")
	}
	if p.sequence < 0 {
		return hint.Add(hint.Usagef("promote: --sequence %d: less than 1", p.sequence), "leave --sequence out")
	}
	if _, err := time.Parse(time.RFC3339, p.date); p.date != "" && err != nil {
		return hint.Add(hint.Usagef("promote: --time %q: not a time of RFC 3339", p.date), "--time 2026-11-20T12:00:00Z")
	}
	return nil
}

// run is the story of a promotion.
func (p *promotion) run(ctx context.Context) (_ string, err error) {
	defer func() { err = p.keys.explain(err) }()
	if err := p.find(); err != nil {
		return "", err
	}
	// What is cheap comes first: hashing the files takes seconds.
	if err := p.read(); err != nil {
		return "", err
	}
	if err := p.proven(); err != nil {
		return "", err
	}
	before, err := p.before()
	if err != nil {
		return "", err
	}
	v := &verifier{dir: p.dir, accept: p.accept, rep: p.rep}
	if err := v.run(ctx); err != nil {
		return "", err
	}
	if dir, ok, err := p.unchanged(before); ok || err != nil {
		return dir, err
	}

	// Made aside, signed, and put into place: the files, the pointer, the link.
	stage, err := release.NewStage(p.releases, p.to, p.info.Version)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, stage.Close()) }()
	next, err := p.fill(ctx, stage.Dir)
	if err != nil {
		return "", err
	}
	pointer, err := p.sign(ctx, stage, next)
	if err != nil {
		return "", err
	}
	if err := stage.Place(); err != nil {
		return "", err
	}
	if err := release.WritePointer(filepath.Join(p.releases, p.to), pointer); err != nil {
		return "", err
	}
	p.rep.Step("promote").Done("%s %s from %s to %s, pointer %d signed by %s",
		p.info.Name, p.info.Version, p.from, p.to, p.sequence, ids(p.keys.payload))
	return stage.Link()
}

// find settles which release is promoted.
func (p *promotion) find() (err error) {
	channel := filepath.Join(p.releases, p.from)
	version := p.version
	if version == "" {
		if d, err := release.ReadPointer(channel); err == nil {
			version = d.Body.Version
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		} else if version, err = os.Readlink(filepath.Join(channel, "current")); err != nil {
			return hint.Add(fmt.Errorf("channel %s: %w", p.from, err),
				"slipway build --channel %s makes a release; --releases DIR names another directory", p.from)
		}
	}
	p.dir = filepath.Join(channel, version)
	p.digest, err = release.Digest(p.dir)
	return hint.Add(err, "ls %s shows the versions there are", channel)
}

// sign makes the release.json and the pointer. Both are asked for at once, for
// keys that are elsewhere.
func (p *promotion) sign(ctx context.Context, stage *release.Stage, next *release.Info) (
	*release.Document[*release.Pointer], error,
) {
	text, err := next.Encode()
	if err != nil {
		return nil, err
	}
	date := p.date
	if date == "" {
		date = next.Date
	}
	pointer, err := release.NewPointer(&release.Pointer{
		Format: 1, Name: next.Name, Channel: p.to, Version: next.Version, Release: release.Sum(text), From: p.from,
		Date: date, Sequence: p.sequence,
	})
	if err != nil {
		return nil, err
	}
	keys := releaseSigners(p.keys.payload)
	what := fmt.Sprintf("%s %s of channel %s", next.Name, next.Version, p.to)
	return pointer, errors.Join(
		stage.Sign(signing.About(ctx, release.Manifest+" of "+what), next, keys...),
		pointer.Sign(signing.About(ctx, fmt.Sprintf("pointer %d to %s", p.sequence, what)), keys...),
	)
}

// unchanged finds the release promoted already. Deltas that were made since are
// added: they are signed by themselves.
func (p *promotion) unchanged(before *release.Pointer) (string, bool, error) {
	channel := filepath.Join(p.releases, p.to)
	if before == nil || before.Version != p.info.Version {
		return "", false, nil
	}
	dir := filepath.Join(channel, before.Version)
	next, err := before.ReadNamed(channel)
	if err != nil || next.Promoted == nil || next.Promoted.Release != p.digest || !next.Complete(dir) {
		return "", false, nil // it is made anew
	}
	for _, e := range next.Files {
		if err := e.Check(dir, runtime.NumCPU()); err != nil {
			return "", false, nil // it is made anew
		}
	}
	if err := p.cloneOthers(dir); err != nil {
		return "", false, err
	}
	p.sequence = before.Sequence
	p.rep.Step("promote").Done("%s %s from %s to %s: nothing changed", p.info.Name, p.info.Version, p.from, p.to)
	return dir, true, nil
}
