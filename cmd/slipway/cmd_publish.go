package main

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"slipway/cmd/internal/hint"
	"slipway/cmd/internal/nebraska"
	"slipway/cmd/internal/release"
	"slipway/cmd/internal/report"
)

const publishHelp = `Tells a Nebraska, the update server for large fleets, of a release: registers its
full payload, points the channel at it, and makes channel and group of machines
if there are none. The payload is not uploaded: --files says where machines find
the directory of releases, at a content network or slipway serve. What is there
already stays, so the command can be repeated; --dry-run says what it would do.

The payload has to be the one that the release names. The token is sent as
"Authorization: Bearer"; a Nebraska without authentication needs none.`

func publishCommand() *cli.Command {
	return &cli.Command{
		Name:        "publish",
		Usage:       "register a release with a Nebraska",
		ArgsUsage:   "[RELEASE]",
		Description: publishHelp,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "to", Usage: "the kind of server is `KIND`: nebraska"},
			&cli.StringFlag{Name: "url", Usage: "the server is at `URL`"},
			&cli.StringFlag{Name: "token-file", Usage: "take the token of who publishes from `FILE`"},
			&cli.StringFlag{Name: "files", Usage: "machines find the directory of releases at `URL`, as in http://HOST/releases/"},
			&cli.StringFlag{Name: "channel", Usage: "publish to `CHANNEL` (default: the release's own)"},
			&cli.StringFlag{Name: "app", Value: nebraska.CoreOSApp, Usage: "the application's id is `ID`"},
			&cli.StringFlag{Name: "floor", Usage: "no machine may skip this version, because of `REASON`"},
			&cli.BoolFlag{Name: "dry-run", Usage: "say what would be done"},
			pubFlag(), jsonFlag(),
		},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 0, 1); err != nil {
				return err
			}
			return publishRelease(c)
		},
	}
}

// publishTimeout bounds one request.
const publishTimeout = 30 * time.Second

func publishRelease(c *cli.Context) error {
	s, err := readNebraska(c)
	if err != nil {
		return err
	}
	dir := c.Args().First()
	if dir == "" {
		dir = filepath.Join("out", "alpha", "current")
		if channel := c.String("channel"); channel != "" {
			dir = filepath.Join("out", channel, "current")
		}
	}
	rep := newReport(c)
	defer rep.Close()
	info, err := readPublishable(c, dir, rep)
	if err != nil {
		return err
	}
	p, err := describePackage(c, dir, info)
	if err != nil {
		return err
	}
	changes := []string{}
	err = s.Publish(c.Context, p, func(change string) {
		changes = append(changes, change)
		rep.Step("publish").Done("%s", change)
	})
	if errors.Is(err, nebraska.ErrOtherBytes) {
		return hint.Add(err, "a version has one payload for ever: slipway build --version makes another version")
	}
	if errors.Is(err, nebraska.ErrRedirect) {
		return hint.Add(err, "--url with https, if that is where it leads")
	}
	if err != nil {
		return err
	}
	switch {
	case s.DryRun:
		rep.Step("publish").Done("nothing was done: --dry-run")
	case len(changes) == 0:
		rep.Step("publish").Done("%s %s is in channel %s: nothing changed", p.Name, p.Version, p.Channel)
	}
	rep.Result(map[string]any{
		"version": p.Version, "channel": p.Channel, "payload": p.URL + p.File, "changes": changes, "dry_run": s.DryRun,
	})
	return nil
}

// readNebraska takes the server from the command line.
func readNebraska(c *cli.Context) (*nebraska.Server, error) {
	switch to := c.String("to"); {
	case to != "nebraska":
		return nil, hint.Add(hint.Usagef("publish: --to %q: unknown", to), "--to nebraska")
	case c.String("files") == "":
		return nil, hint.Add(hint.Usagef("publish: --files missing: where do machines find the payload?"),
			"--files http://HOST/releases/")
	}
	address, err := webAddress("url", c.String("url"))
	if err != nil {
		return nil, err
	}
	s := &nebraska.Server{
		URL: address.String(), DryRun: c.Bool("dry-run"), HTTP: &http.Client{Timeout: publishTimeout},
	}
	name := c.String("token-file")
	if name == "" {
		return s, nil
	}
	if ip := net.ParseIP(address.Hostname()); address.Scheme != "https" && (ip == nil || !ip.IsLoopback()) {
		return nil, hint.Add(fmt.Errorf("publish: %s: a token does not go there in the clear", address), "--url https://...")
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	s.Token = string(bytes.TrimSpace(text))
	if s.Token == "" || strings.ContainsAny(s.Token, " \t\r\n") || len(s.Token) > 16<<10 {
		return nil, hint.Add(fmt.Errorf("%s: not a token", name), "the file holds the token alone, on one line")
	}
	return s, nil
}

// webAddress reads an address of the web.
func webAddress(flag, text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" ||
		u.Scheme != "http" && u.Scheme != "https" {
		return nil, hint.Add(hint.Usagef("publish: --%s %q: not an address of the web", flag, text), "--%s https://HOST", flag)
	}
	return u, nil
}

// readPublishable reads a release, verified if --pub names keys.
func readPublishable(c *cli.Context, dir string, rep *report.Report) (*release.Info, error) {
	accept, err := readAccepted(c)
	if err != nil {
		return nil, err
	}
	if !accept.none() {
		v := &verifier{dir: dir, accept: accept, rep: rep}
		err := v.run(c.Context)
		return v.info, err
	}
	info, err := release.Read(dir)
	return info, hint.Add(err, "slipway build makes a release and prints its directory")
}

// describePackage says of the payload what a Nebraska wants to know. It must be
// the one that release.json names.
func describePackage(c *cli.Context, dir string, info *release.Info) (*nebraska.Package, error) {
	base, err := webAddress("files", c.String("files"))
	if err != nil {
		return nil, err
	}
	f, err := os.Open(filepath.Join(dir, release.Payload))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, hint.Add(fmt.Errorf("%s: no %s to publish", dir, release.Payload),
			"slipway build --payload release makes one")
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	sum, old := sha256.New(), sha1.New() // Nebraska hands SHA-1 on to old clients
	size, err := io.Copy(io.MultiWriter(sum, old), f)
	if err != nil {
		return nil, err
	}
	if got, want := hex.EncodeToString(sum.Sum(nil)), info.Digests()[release.Payload]; got != want {
		return nil, hint.Add(fmt.Errorf("%s: digest %.16s, %s says %.16s", f.Name(), got, release.Manifest, orNone(want)),
			"slipway verify %s", dir)
	}
	channel := c.String("channel")
	if channel == "" {
		channel = info.Channel
	}
	return &nebraska.Package{
		App: c.String("app"), Name: info.Name, Version: info.Version, Arch: info.Architecture, Channel: channel,
		URL: base.JoinPath(info.Channel, info.Version).String() + "/", File: release.Payload, Size: size,
		SHA1: [20]byte(old.Sum(nil)), SHA256: [32]byte(sum.Sum(nil)), FloorReason: c.String("floor"),
	}, nil
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
