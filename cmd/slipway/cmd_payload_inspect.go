package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"slipway/cmd/internal/hint"
	"slipway/signing/payload"
)

const payloadInspectHelp = `Shows what a payload says of itself, who signed it, and where its bytes go: by
type of operation and, where the slot image it leads to is at hand (beside the
payload, or named by --image), by file, and by package where the image was built.
A patch of many files is shared out exactly with --source, by their size without.
Signatures are checked with the keys named by --pub.

--export writes into DIR what was signed and the signatures, so that other
programs can check them: metadata.digest and payload.digest (the SHA-256 digests,
32 bytes), metadata.signed and payload.signed (what the digests are of),
metadata.KEYID.sig and payload.KEYID.sig. For RSA and ECDSA keys
  openssl dgst -sha256 -verify PUB.pem -signature metadata.KEYID.sig metadata.signed
and for Ed25519 keys, which sign the digest
  openssl pkeyutl -verify -pubin -inkey PUB.pem -rawin -in metadata.digest -sigfile metadata.KEYID.sig`

func payloadInspectCommand() *cli.Command {
	return &cli.Command{
		Name:        "inspect",
		Usage:       "show what is in a payload and what its bytes are spent on",
		ArgsUsage:   "PAYLOAD",
		Description: payloadInspectHelp,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "export", Usage: "write signatures and what they are of into `DIR`"},
			&cli.StringFlag{Name: "image", Usage: "the release or slot image `NEW` that the payload leads to, to name files"},
			&cli.StringFlag{Name: "source", Usage: "the release or slot image `OLD` that a delta leads from, to share out its patches exactly"},
			&cli.IntFlag{Name: "top", Usage: "show the `N` files and packages that cost most", Value: 10},
			pubFlag(), jsonFlag(),
		},
		Action: runPayloadInspect,
	}
}

func runPayloadInspect(c *cli.Context) (err error) {
	keys, err := payloadArguments(c, false)
	if err != nil {
		return err
	}
	f, size, err := openPayload(c.Args().First())
	if err != nil {
		return err
	}
	defer f.Close()
	damaged := func(err error) error {
		return hint.Add(fmt.Errorf("%s: %w", f.Name(), err), "slipway payload create RELEASE makes a payload")
	}
	r, err := payload.NewReader(io.NewSectionReader(f, 0, size), nil)
	if err != nil {
		return damaged(err)
	}
	costs, err := openCosts(c.Context, c.String("image"), f.Name(), c.String("source"), r.Manifest)
	if err != nil {
		return err
	}
	if costs != nil {
		defer func() { err = errors.Join(err, costs.close()) }()
	}
	if err := readPayload(c.Context, r, costs); err != nil {
		return damaged(err)
	}
	if dir := c.String("export"); dir != "" {
		if err := exportSignatures(dir, f, r); err != nil {
			return err
		}
	}
	doc := describePayload(f.Name(), size, r, keys)
	if costs != nil {
		doc.Files, doc.Packages = costs.list(c.Int("top"))
	}
	if c.Bool("json") {
		return printJSON(c.App.Writer, doc)
	}
	return doc.print(c.App.Writer)
}

// readPayload reads all of a payload and adds up what it costs.
func readPayload(ctx context.Context, r *payload.Reader, c *costs) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		op, data, err := r.Next()
		if err == io.EOF {
			_, err := r.Finish(nil)
			return err
		}
		if err == nil && c != nil {
			err = c.spend(op, data)
		}
		if err != nil {
			return err
		}
	}
}

// payloadDoc is the answer of payload inspect.
type payloadDoc struct {
	File           string         `json:"file"`
	Size           int64          `json:"size"`          // bytes
	MetadataSize   int64          `json:"metadata_size"` // bytes: header, manifest, metadata signatures
	SHA256         string         `json:"payload_digest"`
	Name           string         `json:"name"`
	Version        string         `json:"version"`
	MinimumVersion string         `json:"minimum_version,omitempty"`
	Architecture   string         `json:"architecture"`
	Channel        string         `json:"channel,omitempty"`
	Development    bool           `json:"development"`
	RootHash       string         `json:"root_hash"`
	SourceVersion  string         `json:"source_version,omitempty"`
	SourceRootHash string         `json:"source_root_hash,omitempty"`
	Partition      int64          `json:"partition_size"` // bytes
	PartitionHash  string         `json:"partition_sha256"`
	HashTree       bool           `json:"hash_tree_left_out"`
	Signatures     []signatureDoc `json:"signatures"`
	Operations     []operationDoc `json:"operations"`
	Files          []costDoc      `json:"files,omitempty"`
	Packages       []costDoc      `json:"packages,omitempty"`
}

type signatureDoc struct {
	Of      string `json:"of"` // metadata or payload
	KeyID   string `json:"key_id"`
	Verdict string `json:"verdict"` // good, bad, unknown key, not checked
}

// operationDoc sums up the operations of one type.
type operationDoc struct {
	Type    string `json:"type"`
	Count   int    `json:"count"`
	Data    int64  `json:"data"`    // bytes in the payload
	Written int64  `json:"written"` // bytes in the partition
}

func describePayload(name string, size int64, r *payload.Reader, keys []payload.Key) *payloadDoc {
	m := r.Manifest
	doc := &payloadDoc{
		File: name, Size: size, MetadataSize: r.Metadata.Size(), SHA256: hex.EncodeToString(r.PayloadDigest[:]),
		Name: m.Info.Name, Version: m.Info.Version, MinimumVersion: m.Info.MinimumVersion,
		Architecture: m.Info.Architecture, Channel: m.Info.Channel, Development: m.Info.Development,
		RootHash: m.Info.RootHash, SourceVersion: m.Info.SourceVersion, SourceRootHash: m.Info.SourceRootHash,
		Partition: m.New.Size, PartitionHash: hex.EncodeToString(m.New.SHA256[:]), HashTree: m.HashTree != nil,
		Operations: sumUp(m.Operations),
	}
	add := func(of string, digest [32]byte, signatures []payload.Signature) {
		for _, s := range signatures {
			doc.Signatures = append(doc.Signatures, signatureDoc{of, s.KeyID, payloadVerdict(digest, s, keys)})
		}
	}
	add("metadata", r.Digest, r.Signatures)
	add("payload", r.PayloadDigest, r.PayloadSignatures)
	return doc
}

func payloadVerdict(digest [32]byte, s payload.Signature, keys []payload.Key) string {
	if len(keys) == 0 {
		return "not checked"
	}
	for _, k := range keys {
		switch {
		case k.ID != s.KeyID:
		case k.Verify(digest, s.Data):
			return "good"
		default:
			return "bad"
		}
	}
	return "unknown key"
}

func sumUp(operations []payload.Operation) []operationDoc {
	sums := map[payload.Type]*operationDoc{}
	var types []payload.Type
	for i := range operations {
		op := &operations[i]
		if sums[op.Type] == nil {
			sums[op.Type] = &operationDoc{Type: op.Type.String()}
			types = append(types, op.Type)
		}
		sum := sums[op.Type]
		sum.Count++
		sum.Data += op.DataSize
		sum.Written += op.DstSize()
	}
	slices.Sort(types)
	list := []operationDoc{}
	for _, t := range types {
		list = append(list, *sums[t])
	}
	return list
}

func (d *payloadDoc) print(out io.Writer) error {
	kind, level := "full payload", "for release"
	if d.SourceVersion != "" {
		kind = "delta payload from " + d.SourceVersion
	}
	if d.Development {
		level = "for development"
	}
	fmt.Fprintf(out, "%s: %s, %s\n", d.File, kind, megabytes(d.Size))
	fmt.Fprintf(out, "to %s %s %s, %s, root hash %s\n", d.Name, d.Version, d.Architecture, level, d.RootHash)
	if d.MinimumVersion != "" {
		fmt.Fprintf(out, "replaces %s and newer\n", d.MinimumVersion)
	}
	for _, s := range d.Signatures {
		fmt.Fprintf(out, "%s signed by %s: %s\n", s.Of, s.KeyID, s.Verdict)
	}
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', tabwriter.AlignRight)
	row := func(name string, count int, data, written int64) {
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t\n", name, count, megabytes(data), megabytes(written))
	}
	fmt.Fprintf(w, "operation\tcount\tin payload\ton disk\t\n")
	for _, o := range d.Operations {
		row(o.Type, o.Count, o.Data, o.Written)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(out, "metadata %d bytes\n", d.MetadataSize)
	printCosts(out, "package", d.Packages)
	printCosts(out, "file", d.Files)
	return nil
}

func printCosts(out io.Writer, what string, costs []costDoc) {
	if len(costs) == 0 {
		return
	}
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintf(w, "in payload\t%s\n", what)
	for _, c := range costs {
		fmt.Fprintf(w, "%d\t%s\n", c.Data, c.Name)
	}
	w.Flush()
}

// exportSignatures writes what other programs need to check the signatures.
func exportSignatures(dir string, f io.ReaderAt, r *payload.Reader) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	signed := r.Bytes[:len(r.Bytes)-int(r.Manifest.SignaturesSize)]
	files := map[string][]byte{
		"metadata.digest": r.Digest[:], "payload.digest": r.PayloadDigest[:], "metadata.signed": signed,
	}
	for part, signatures := range map[string][]payload.Signature{
		"metadata": r.Signatures, "payload": r.PayloadSignatures,
	} {
		for i, s := range signatures {
			id := s.KeyID
			// It comes from the payload and becomes the name of a file.
			if _, err := hex.DecodeString(id); err != nil || id == "" {
				id = fmt.Sprintf("key-%d", i+1)
			}
			files[fmt.Sprintf("%s.%.64s.sig", part, id)] = s.Data
		}
	}
	for name, content := range files {
		if err := writeAside(filepath.Join(dir, name), content); err != nil {
			return err
		}
	}
	out, err := os.Create(filepath.Join(dir, "payload.signed"))
	if err != nil {
		return err
	}
	defer out.Close()
	if _, err := out.Write(signed); err != nil {
		return err
	}
	data := io.NewSectionReader(f, r.Metadata.Size(), r.Manifest.SignaturesOffset)
	if _, err := io.Copy(out, data); err != nil {
		return err
	}
	return out.Close()
}
