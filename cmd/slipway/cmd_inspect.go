package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"slipway/build/tree"
	"slipway/cmd/internal/hint"
	"slipway/cmd/internal/inspect"
	"slipway/cmd/internal/release"
	"slipway/partitions"
	"slipway/signing/footer"
	"slipway/signing/keyset"
)

const inspectHelp = `Shows what is in a disk image, a slot image or a release directory, without
mounting anything: partitions, slots with their versions and signatures, the
number of packages. With a path it lists a directory of the slot or prints a
file, seen as on a booted machine (/etc is the factory copy). Of a disk, the
slot is the one that would boot, or the one named by --slot.`

func inspectCommand() *cli.Command {
	return &cli.Command{
		Name:        "inspect",
		Usage:       "show what is in an image, list or print its files",
		ArgsUsage:   "IMAGE|SLOT|RELEASE [PATH]",
		Description: inspectHelp,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "slot", Usage: "look into the slot with this `LABEL`, such as USR-B"},
			pubFlag(),
			&cli.BoolFlag{Name: "packages", Usage: "list the packages and Go programs of the slot"},
			jsonFlag(),
		},
		Action: runInspect,
	}
}

func runInspect(c *cli.Context) error {
	if err := arguments(c, 1, 2); err != nil {
		return err
	}
	accept, err := readAccepted(c)
	if err != nil {
		return err
	}
	f, size, err := openImage(c.Args().First())
	if err != nil {
		return err
	}
	defer f.Close()
	image, err := inspect.Open(f, size, accept.as(keyset.Image))
	if err != nil {
		return hint.Add(fmt.Errorf("%s: %w", f.Name(), err), "slipway inspect takes slipway.img, usr.img or a release directory")
	}
	switch {
	case c.NArg() == 2:
		return inspectPath(c, image, c.Args().Get(1))
	case c.Bool("packages"):
		return inspectPackages(c, image)
	}
	doc := describe(f.Name(), image)
	if c.Bool("json") {
		return printJSON(c.App.Writer, doc)
	}
	return doc.print(c.App.Writer)
}

// openImage opens a file, or the disk image of a release directory.
func openImage(name string) (*os.File, int64, error) {
	st, err := os.Stat(name)
	if err == nil && st.IsDir() {
		dir := name
		name = filepath.Join(dir, release.Disk)
		if st, err = os.Stat(name); errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%s: no release: there is no %s", dir, release.Disk)
		}
	}
	if err != nil {
		return nil, 0, hint.Add(err, "slipway build makes a release and prints its directory")
	}
	// Opening a pipe would wait for its writer.
	if mode := st.Mode(); !mode.IsRegular() && (mode&fs.ModeDevice == 0 || mode&fs.ModeCharDevice != 0) {
		return nil, 0, fmt.Errorf("%s: neither a file nor a block device", name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, err
	}
	size, err := f.Seek(0, io.SeekEnd) // a block device has no size in stat
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, size, nil
}

func chosenSlot(c *cli.Context, image *inspect.Image) (*inspect.SlotInfo, error) {
	if label := c.String("slot"); label != "" {
		return image.Slot(label)
	}
	return image.Active()
}

// inspectPath lists a directory or prints a file.
func inspectPath(c *cli.Context, image *inspect.Image, name string) error {
	slot, err := chosenSlot(c, image)
	if err != nil {
		return err
	}
	usr, err := slot.Usr()
	if err != nil {
		return err
	}
	p, n, err := inspect.Find(usr, name)
	if err != nil {
		return hint.Add(err, "slipway inspect %s /usr lists what there is", c.Args().First())
	}
	switch n.Type {
	case tree.Dir:
		return inspect.List(c.App.Writer, usr, p)
	case tree.File:
		r, err := n.Blob.Open()
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = io.Copy(c.App.Writer, r)
		return err
	}
	return fmt.Errorf("%s: a %s has no content", name, n.Type)
}

func inspectPackages(c *cli.Context, image *inspect.Image) error {
	slot, err := chosenSlot(c, image)
	if err != nil {
		return err
	}
	l, err := slot.Packages()
	if err != nil {
		return err
	}
	if c.Bool("json") {
		type pkg struct {
			Name    string `json:"name"`
			Version string `json:"version"`
			SHA256  string `json:"sha256"`
			Why     string `json:"why"`
		}
		list := []pkg{}
		for _, p := range l.Packages {
			list = append(list, pkg{p.Name, p.Version, p.SHA256.String(), p.Why})
		}
		for _, p := range l.Programs {
			list = append(list, pkg{"/" + p.Path, p.Version, p.Sources.String(), p.Why + ": Go program " + p.Package})
		}
		return printJSON(c.App.Writer, list)
	}
	w := tabwriter.NewWriter(c.App.Writer, 0, 8, 2, ' ', 0)
	for _, p := range l.Packages {
		fmt.Fprintf(w, "%s\t%s\t%s\n", p.Name, p.Version, p.Why)
	}
	for _, p := range l.Programs {
		fmt.Fprintf(w, "/%s\t%s\t%s: Go program %s\n", p.Path, cmp.Or(p.Version, "-"), p.Why, p.Package)
	}
	return w.Flush()
}

// imageDoc is the answer of inspect, for people and for programs.
type imageDoc struct {
	File       string         `json:"file"`
	Kind       inspect.Kind   `json:"kind"`
	Size       int64          `json:"size"`
	Damage     []string       `json:"damage,omitempty"`
	Partitions []partitionDoc `json:"partitions,omitempty"`
	Slots      []slotDoc      `json:"slots"`
}

type partitionDoc struct {
	Number     int    `json:"number"`
	Label      string `json:"label"`
	Start      int64  `json:"start"` // sectors
	Size       int64  `json:"size"`  // sectors
	Type       string `json:"type"`
	UUID       string `json:"uuid"`
	Attributes string `json:"attributes,omitempty"`
}

type slotDoc struct {
	Label      string              `json:"label,omitempty"`
	State      string              `json:"state"` // active, other, empty, damaged
	Reason     string              `json:"reason,omitempty"`
	Footer     *footer.Footer      `json:"footer,omitempty"`
	Signatures []inspect.Signature `json:"signatures,omitempty"`
	Packages   int                 `json:"packages,omitempty"`
	Programs   int                 `json:"programs,omitempty"` // Go programs of overlays
	// SecureBoot are the signatures of the UKI.
	SecureBoot []inspect.BootSignature `json:"secure_boot,omitempty"`
}

func describe(file string, image *inspect.Image) *imageDoc {
	doc := &imageDoc{File: file, Kind: image.Kind, Size: image.Size}
	if image.Table != nil {
		doc.Damage = damage(image.Table)
		for _, p := range image.Table.Partitions {
			doc.Partitions = append(doc.Partitions, partitionDoc{
				p.Number, p.Label, p.Start, p.Size, typeName(p), p.UUID.String(), attributes(p),
			})
		}
	}
	active, _ := image.Active()
	for n := range image.Slots {
		s := &image.Slots[n]
		d := slotDoc{Label: s.Label, Footer: s.Footer, Signatures: s.Signatures}
		switch {
		case s.Empty:
			d.State = "empty"
		case s.Err != nil:
			d.State, d.Reason = "damaged", s.Err.Error()
		case s == active:
			d.State = "active"
		default:
			d.State = "other"
		}
		if s.Footer != nil {
			l, err := s.Packages()
			if err == nil {
				d.Packages, d.Programs = len(l.Packages), len(l.Programs)
			} else {
				d.State, d.Reason = "damaged", err.Error()
			}
			if d.SecureBoot, err = s.BootSignatures(); err != nil {
				d.State, d.Reason = "damaged", err.Error()
			}
		}
		doc.Slots = append(doc.Slots, d)
	}
	return doc
}

func damage(t *partitions.Table) []string {
	var list []string
	add := func(what string, err error) {
		if err != nil {
			list = append(list, what+": "+err.Error())
		}
	}
	add("primary header", t.Primary.HeaderErr)
	add("primary entries", t.Primary.EntriesErr)
	add("backup header", t.Backup.HeaderErr)
	add("backup entries", t.Backup.EntriesErr)
	return list
}

// attributes shows what means something for the type of partition.
func attributes(p partitions.Partition) string {
	switch {
	case p.Type.String() == partitions.TypeUSR:
		return p.Attributes.String()
	case p.Attributes.LegacyBoot():
		return "legacy boot"
	}
	return ""
}

func typeName(p partitions.Partition) string {
	for _, n := range partitions.TypeNames() {
		if n.Type == p.Type.String() {
			return n.Name
		}
	}
	return p.Type.String()
}

func (d *imageDoc) print(out io.Writer) error {
	fmt.Fprintf(out, "%s: %s, %s\n", d.File, d.Kind, megabytes(d.Size))
	for _, text := range d.Damage {
		fmt.Fprintf(out, "damaged: %s\n", text)
	}
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	if len(d.Partitions) > 0 {
		fmt.Fprintf(w, "part\tlabel\tstart\tsectors\ttype\tattributes\n")
	}
	for _, p := range d.Partitions {
		fmt.Fprintf(w, "%d\t%s\t%d\t%d\t%s\t%s\n", p.Number, p.Label, p.Start, p.Size, p.Type, p.Attributes)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, s := range d.Slots {
		s.print(out)
	}
	return nil
}

func (s *slotDoc) print(out io.Writer) {
	if s.Label != "" {
		fmt.Fprintf(out, "slot %s: %s", s.Label, s.State)
	} else {
		fmt.Fprintf(out, "slot: %s", s.State)
	}
	if s.Reason != "" {
		fmt.Fprintf(out, ": %s", s.Reason)
	}
	if f := s.Footer; f != nil {
		kind := "release"
		if f.Development {
			kind = "development"
		}
		fmt.Fprintf(out, ", %s %s %s, %s image\n", f.Name, f.Version, f.Architecture, kind)
		fmt.Fprintf(out, "  %s %s, hash tree %s, root hash %s\n", f.FSType, megabytes(f.FSSize),
			megabytes(f.HashSize), f.RootHash)
		fmt.Fprintf(out, "  kernel /usr/%s %s, boot id %.16s\n", f.UKI.Path, megabytes(f.UKI.Size), f.BootID)
		if f.RollbackFloor != "" {
			fmt.Fprintf(out, "  once proven, replaced by %s and newer only\n", f.RollbackFloor)
		}
		for _, sig := range s.Signatures {
			fmt.Fprintf(out, "  signed by %s (%s): %s\n", sig.KeyID, sig.Algorithm, sig.Verdict)
		}
		for _, sig := range s.SecureBoot {
			fmt.Fprintf(out, "  UKI signed for Secure Boot by %s (%s, key %s): %s\n", sig.Subject, sig.Algorithm, sig.KeyID, sig.Verdict)
		}
		fmt.Fprintf(out, "  %d packages", s.Packages)
		if s.Programs > 0 {
			fmt.Fprintf(out, ", %d Go programs", s.Programs)
		}
	}
	fmt.Fprintln(out)
}
