package payload

import "fmt"

// decoder fills a manifest.
type decoder struct {
	m          *Manifest
	partitions int
	blockSize  uint64
	minor      uint64
	name       string
	version    string // of the partition
}

// parseManifest decodes a manifest and checks that it makes sense.
func parseManifest(b []byte) (*Manifest, error) {
	d := decoder{m: new(Manifest), blockSize: BlockSize}
	if err := fields(b, d.manifestField); err != nil {
		return nil, fmt.Errorf("payload manifest: %w", err)
	}
	if err := d.check(); err != nil {
		return nil, fmt.Errorf("payload manifest: %w", err)
	}
	if err := d.m.validate(); err != nil {
		return nil, fmt.Errorf("payload manifest: %w", err)
	}
	return d.m, nil
}

// check looks at what the manifest says that a Manifest has no place for.
func (d *decoder) check() error {
	wantMinor := minorVersionFull
	if d.m.Delta() {
		wantMinor = minorVersionDelta
	}
	switch {
	case d.blockSize != BlockSize:
		return fmt.Errorf("blocks of %d bytes, want %d", d.blockSize, BlockSize)
	case d.partitions != 1:
		return fmt.Errorf("%d partitions, want 1", d.partitions)
	case d.name != PartitionName:
		return fmt.Errorf("partition %q, want %q", d.name, PartitionName)
	case d.minor != wantMinor:
		return fmt.Errorf("minor version %d, want %d", d.minor, wantMinor)
	case d.version != d.m.Info.Version:
		return fmt.Errorf("partition of version %q in a payload of version %q", d.version, d.m.Info.Version)
	}
	return nil
}

func (d *decoder) manifestField(f field) error {
	switch f.number {
	case manifestBlockSize:
		return f.uint(&d.blockSize)
	case manifestSignOffset:
		return f.size(&d.m.SignaturesOffset)
	case manifestSignSize:
		return f.size(&d.m.SignaturesSize)
	case manifestMinorVersion:
		return f.uint(&d.minor)
	case manifestTimestamp:
		return f.size(&d.m.Timestamp)
	case manifestPartitions:
		if d.partitions++; d.partitions > 1 {
			return nil
		}
		var b []byte
		if err := f.raw(&b); err != nil {
			return err
		}
		return fields(b, d.partitionField)
	case manifestInfo:
		var b []byte
		if err := f.raw(&b); err != nil {
			return err
		}
		return fields(b, d.infoField)
	case manifestSigners:
		var id string
		if err := f.text(&id); err != nil {
			return err
		}
		if len(d.m.Signers) == maxSignatureCount {
			return fmt.Errorf("more than %d keys", maxSignatureCount)
		}
		d.m.Signers = append(d.m.Signers, id)
	}
	return nil
}

func (d *decoder) partitionField(f field) (err error) {
	switch f.number {
	case partitionName:
		return f.text(&d.name)
	case partitionVersion:
		return f.text(&d.version)
	case partitionOld:
		d.m.Old, err = f.image()
		return err
	case partitionNew:
		var i *Image
		if i, err = f.image(); err == nil {
			d.m.New = *i
		}
		return err
	case partitionOperations:
		var b []byte
		if err := f.raw(&b); err != nil {
			return err
		}
		o, err := decodeOperation(b)
		// Before the next one is read: an operation that passes has earned
		// the memory it takes by the bytes it is made of.
		if err == nil {
			err = o.check()
		}
		if err != nil {
			return fmt.Errorf("operation %d: %w", len(d.m.Operations), err)
		}
		d.m.Operations = append(d.m.Operations, o)
	case partitionTreeData, partitionTree, partitionTreeAlgorithm, partitionTreeSalt:
		return d.hashTreeField(f)
	}
	return nil
}

func (d *decoder) hashTreeField(f field) (err error) {
	if d.m.HashTree == nil {
		d.m.HashTree = new(HashTree)
	}
	t := d.m.HashTree
	switch f.number {
	case partitionTreeData:
		t.Data, err = f.extent()
	case partitionTree:
		t.Tree, err = f.extent()
	case partitionTreeAlgorithm:
		err = f.text(&t.Algorithm)
	case partitionTreeSalt:
		err = f.raw(&t.Salt)
	}
	return err
}

func (d *decoder) infoField(f field) error {
	i := &d.m.Info
	switch f.number {
	case infoName:
		return f.text(&i.Name)
	case infoVersion:
		return f.text(&i.Version)
	case infoMinimum:
		return f.text(&i.MinimumVersion)
	case infoArchitecture:
		return f.text(&i.Architecture)
	case infoChannel:
		return f.text(&i.Channel)
	case infoDevelopment:
		var v uint64
		err := f.uint(&v)
		i.Development = v != 0
		return err
	case infoRootHash:
		return f.text(&i.RootHash)
	case infoSourceVersion:
		return f.text(&i.SourceVersion)
	case infoSourceRootHash:
		return f.text(&i.SourceRootHash)
	}
	return nil
}
