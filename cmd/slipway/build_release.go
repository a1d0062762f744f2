package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"slipway/build/authenticode"
	"slipway/build/lock"
	"slipway/cmd/internal/goprogram"
	"slipway/cmd/internal/hint"
	"slipway/cmd/internal/release"
	"slipway/cmd/internal/report"
	"slipway/overlays"
	"slipway/signing"
	"slipway/signing/payload"
)

// digestInputs covers everything a release is made of.
func digestInputs(root string, config *overlays.Config, l *lock.Lock, keys *signers, secureBoot []authenticode.Identity,
	channel, version, level string,
) (string, error) {
	sources, err := goprogram.Sources(root)
	if err != nil {
		return "", err
	}
	signed, err := keys.digest()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintf(h, "sources %x\noverlays %x\nkeys %s\nchannel %s\nversion %s\npayload %s\n", sources, config.Digest,
		signed, channel, version, level)
	for _, id := range secureBoot {
		fmt.Fprintf(h, "secureboot %x\n", id.Certificate.Raw)
		for _, c := range id.Chain {
			fmt.Fprintf(h, "issued by %x\n", c.Raw)
		}
	}
	for _, suite := range l.Suites {
		fmt.Fprintf(h, "suite %s %s\n", suite.Suite, suite.InRelease)
	}
	for _, p := range l.Packages {
		fmt.Fprintf(h, "package %s %s\n", p.Name, p.SHA256)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// unchanged finds a finished release of the same inputs.
func unchanged(o *buildOptions, version, inputs string) (string, bool) {
	dir := filepath.Join(o.out, o.channel, version)
	info, err := release.Read(dir)
	return dir, err == nil && !o.force && info.Inputs == inputs && info.Complete(dir)
}

// checkPromoted refuses to build in the place of a release that was promoted,
// and tells who builds in a channel with a pointer that machines follow that.
func checkPromoted(o *buildOptions, version string, rep *report.Report) error {
	d, err := release.ReadPointer(filepath.Join(o.out, o.channel))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if d.Body.Version == version {
		return hint.Add(fmt.Errorf("channel %s: %s was promoted from %s, and is not built anew", o.channel, version, d.Body.From),
			"--version V makes another version, --out DIR makes it elsewhere")
	}
	rep.Warn("channel %s gives its machines %s, which its pointer names: slipway promote moves that", o.channel, d.Body.Version)
	return nil
}

// levelNone is a release without a payload.
const levelNone = "none"

// payloadLevel settles how a build's payload is packed. A development image
// gets none unless asked for: it takes longer than the image.
func payloadLevel(asked string, development bool) (string, error) {
	switch {
	case asked == "" && development:
		return levelNone, nil
	case asked == "":
		return levelRelease, nil
	case !slices.Contains([]string{levelNone, levelDevelopment, levelRelease}, asked):
		return "", hint.Add(hint.Usagef("build: --payload %q: unknown", asked), "--payload release, development or none")
	}
	return asked, nil
}

// compressor gives what packs operations at a level.
func compressor(ctx context.Context, packages *packageSource, config *overlays.Config, level string) (payload.Compressor, error) {
	if level == levelDevelopment {
		return payload.Fast()
	}
	programs, err := packages.tools(ctx, "payload", config)
	if err != nil {
		return nil, err
	}
	return zstdProgram(programs), nil
}

// writePayload puts the full payload of a slot image beside it.
func writePayload(ctx context.Context, packages *packageSource, config *overlays.Config, level string, o *payloadOptions, slot string) (err error) {
	if level == levelNone {
		return nil
	}
	if o.new, err = openSlot(slot); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.new.Close()) }()
	if o.compress, err = compressor(ctx, packages, config, level); err != nil {
		return err
	}
	_, err = makePayload(ctx, filepath.Join(filepath.Dir(slot), release.Payload), o)
	return err
}

type publishOptions struct {
	info     *release.Info
	root     string
	lockText []byte
	rep      *report.Report
	workers  int
	keys     *signers
}

// publish describes the files and puts the release in its place.
func publish(ctx context.Context, stage *release.Stage, o *publishOptions) (string, error) {
	var err error
	if o.info.Toolchain, err = goprogram.Toolchain(o.root); err != nil {
		return "", err
	}
	log := strings.Join(o.rep.Log(), "\n") + "\n"
	for name, data := range map[string][]byte{release.Lock: o.lockText, release.Log: []byte(log)} {
		if err := os.WriteFile(filepath.Join(stage.Dir, name), data, 0o644); err != nil {
			return "", err
		}
	}
	names := []string{release.Disk, release.Slot, release.UKI, release.Lock, release.Log}
	if _, err := os.Stat(filepath.Join(stage.Dir, release.Payload)); err == nil {
		names = append(names, release.Payload)
	}
	for _, name := range names {
		entry, err := release.Describe(stage.Dir, name, o.workers, !o.info.Development)
		if err != nil {
			return "", err
		}
		o.info.Files = append(o.info.Files, entry)
	}
	ctx = signing.About(ctx, fmt.Sprintf("%s of %s %s", release.Manifest, o.info.Name, o.info.Version))
	return stage.Publish(ctx, o.info, releaseSigners(o.keys.payload)...)
}
