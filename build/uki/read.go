package uki

import (
	"fmt"
	"io"
	"strings"
)

// Image is a parsed UKI, or any other 64-bit PE file.
type Image struct {
	Sections []Section // in the order of the file's section table
}

// Section is one named part of an Image. Offset and Size are bytes of the
// file; Size leaves out the padding after the content.
type Section struct {
	Name   string
	Offset int64
	Size   int64
	file   io.ReaderAt
}

// Open returns a reader of the section's content.
func (s *Section) Open() *io.SectionReader {
	return io.NewSectionReader(s.file, s.Offset, s.Size)
}

// Text returns the content of a section that holds text, such as .cmdline,
// without trailing NULs and newlines. More than 64 KiB is an error.
func (s *Section) Text() (string, error) {
	if s.Size > maxText {
		return "", fmt.Errorf("section %s: %d bytes of text, at most %d are read",
			s.Name, s.Size, maxText)
	}
	text := make([]byte, s.Size)
	if _, err := io.ReadFull(s.Open(), text); err != nil {
		return "", fmt.Errorf("section %s: %w", s.Name, err)
	}
	return strings.TrimRight(string(text), "\x00\n"), nil
}

// Section returns the first section of that name. Its absence is an error,
// for every caller needs the section it asks for.
func (i *Image) Section(name string) (*Section, error) {
	for n := range i.Sections {
		if i.Sections[n].Name == name {
			return &i.Sections[n], nil
		}
	}
	return nil, fmt.Errorf("UKI: no section %s", name)
}

// Read parses the headers of the PE file that fills the first size bytes of r.
// It reads at most 64 KiB and checks that every section lies inside the file,
// not that the file is a UKI: ask for the sections you need.
func Read(r io.ReaderAt, size int64) (*Image, error) {
	h, err := readHeader(r, size)
	if err != nil {
		return nil, fmt.Errorf("UKI: %w", err)
	}
	image := &Image{}
	for _, s := range h.sections {
		content := s.rawSize
		if s.virtualSize != 0 {
			content = min(content, s.virtualSize)
		}
		image.Sections = append(image.Sections, Section{
			Name: s.name, Offset: int64(s.rawOffset), Size: int64(content), file: r,
		})
	}
	return image, nil
}
