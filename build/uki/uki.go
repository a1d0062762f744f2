// Package uki writes and reads unified kernel images: the systemd stub with a
// kernel, an initramfs and a command line added as PE sections, which UEFI
// firmware starts as one program. The format is the UAPI group's "Unified
// Kernel Image" specification.
//
// The same file also boots on BIOS machines: a section .grub at a fixed offset
// holds GRUB commands that name the kernel and the initramfs by their blocks
// in the file, so that GRUB can run them over a loopback device.
//
// The package does not sign images and does not compress anything. It uses the
// standard library only, for the initramfs reads UKIs too.
package uki

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
)

const (
	// GRUBOffset is the byte of every UKI at which section .grub starts.
	GRUBOffset = 0x40000
	// GRUBSize is the size in bytes of section .grub; newlines fill it up.
	GRUBSize = 0x1000
	// GRUBDevice is the name that section .grub has for the file it is in.
	GRUBDevice = "uki"
	// GRUBArguments is GRUB's variable with more words for the kernel.
	GRUBArguments = "slipway"

	blockSize = 512
	maxText   = 1 << 16
)

// Options says what goes into a UKI.
type Options struct {
	Stub        []byte // systemd's linuxx64.efi.stub, unsigned
	OSRelease   string // content of /etc/os-release
	CommandLine string // kernel arguments, parted by spaces; no quotes, no backslash
	Uname       string // the kernel's release, such as 6.12.107+deb13-cloud-amd64
	Linux       *io.SectionReader
	Initrd      *io.SectionReader
}

// Write writes the UKI. Equal options give equal bytes.
func Write(w io.Writer, o *Options) error {
	if err := write(w, o); err != nil {
		return fmt.Errorf("UKI: %w", err)
	}
	return nil
}

// part is a section to be appended.
type part struct {
	sectionHeader
	content io.Reader
	size    int64
}

func write(w io.Writer, o *Options) error {
	if o.Linux == nil || o.Initrd == nil {
		return errors.New("kernel and initramfs are both needed")
	}
	h, err := readHeader(bytes.NewReader(o.Stub), int64(len(o.Stub)))
	if err != nil {
		return fmt.Errorf("stub: %w", err)
	}
	grub := &part{sectionHeader: sectionHeader{name: ".grub"}, size: GRUBSize}
	linux := &part{sectionHeader{name: ".linux"}, o.Linux, o.Linux.Size()}
	initrd := &part{sectionHeader{name: ".initrd"}, o.Initrd, o.Initrd.Size()}
	parts := []*part{
		text(".osrel", o.OSRelease), text(".cmdline", o.CommandLine), text(".uname", o.Uname),
		grub, linux, initrd,
	}
	head, err := h.add(o.Stub, parts)
	if err != nil {
		return err
	}
	script, err := grubScript(o.CommandLine, &linux.sectionHeader, &initrd.sectionHeader)
	if err != nil {
		return err
	}
	grub.content = strings.NewReader(script)

	if _, err := w.Write(head); err != nil {
		return err
	}
	for _, p := range parts {
		if err := p.writeTo(w); err != nil {
			return fmt.Errorf("section %s: %w", p.name, err)
		}
	}
	return nil
}

func text(name, content string) *part {
	return &part{sectionHeader{name: name}, strings.NewReader(content), int64(len(content))}
}

func (p *part) writeTo(w io.Writer) error {
	n, err := io.Copy(w, io.LimitReader(p.content, p.size))
	if err != nil {
		return err
	}
	if n != p.size {
		return fmt.Errorf("want %d bytes, the source ends after %d", p.size, n)
	}
	_, err = w.Write(make([]byte, int64(p.rawSize)-p.size))
	return err
}

// add gives every part its place behind the stub and returns the stub with
// headers that name the parts.
func (h *peHeader) add(stub []byte, parts []*part) ([]byte, error) {
	if h.signature != 0 {
		return nil, errors.New("stub: is signed, which adding sections would break")
	}
	if len(h.sections) == 0 || h.fileAlignment != blockSize || h.sectionAlignment == 0 ||
		h.sectionAlignment&(h.sectionAlignment-1) != 0 {
		return nil, fmt.Errorf("stub: %d sections, alignment %d in memory and %d in the file (want %d)",
			len(h.sections), h.sectionAlignment, h.fileAlignment, blockSize)
	}
	tableEnd := len(h.raw) + len(parts)*sectionSize
	if tableEnd > int(h.sizeOfHeaders) || int(h.sizeOfHeaders) > len(stub) {
		return nil, fmt.Errorf("stub: %d bytes of headers have no room for %d more sections",
			h.sizeOfHeaders, len(parts))
	}
	head := make([]byte, roundUp(int64(len(stub)), blockSize))
	copy(head, stub)

	offset, address, data := int64(len(head)), int64(0), int64(0)
	for _, s := range h.sections {
		address = max(address, int64(s.virtualAddress)+int64(max(s.virtualSize, s.rawSize)))
	}
	for i, p := range parts {
		if p.size == 0 {
			return nil, fmt.Errorf("section %s: has no content", p.name)
		}
		if p.name == ".grub" {
			// The section in front takes the padding: signing tools and
			// firmware disagree about file bytes that are in no section.
			if offset > GRUBOffset {
				return nil, fmt.Errorf("stub and texts: %d bytes, at most %d fit before section .grub",
					offset, GRUBOffset)
			}
			parts[i-1].rawSize += uint32(GRUBOffset - offset)
			data += GRUBOffset - offset
			offset = GRUBOffset
		}
		address = roundUp(address, int64(h.sectionAlignment))
		raw := roundUp(p.size, blockSize)
		if max(offset, address)+raw > math.MaxUint32-int64(h.sectionAlignment) {
			return nil, fmt.Errorf("section %s: %d bytes do not fit below 4 GiB", p.name, p.size)
		}
		p.rawOffset, p.rawSize = uint32(offset), uint32(raw)
		p.virtualAddress, p.virtualSize = uint32(address), uint32(p.size)
		offset, address, data = offset+raw, address+p.size, data+raw
	}
	for i, p := range parts {
		p.put(head[len(h.raw)+i*sectionSize:])
	}
	sections := head[h.optional-coffHeaderSize+2:]
	binary.LittleEndian.PutUint16(sections, uint16(len(h.sections)+len(parts)))
	opt := head[h.optional:]
	initialized := binary.LittleEndian.Uint32(opt[optInitializedData:]) + uint32(data)
	binary.LittleEndian.PutUint32(opt[optInitializedData:], initialized)
	image := uint32(roundUp(address, int64(h.sectionAlignment)))
	binary.LittleEndian.PutUint32(opt[optSizeOfImage:], image)
	binary.LittleEndian.PutUint32(opt[optCheckSum:], 0)
	return head, nil
}

func roundUp(n, to int64) int64 { return (n + to - 1) / to * to }
