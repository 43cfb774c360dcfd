package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/wal"
)

// Report says what reading found.
type Report struct {
	Records   int   // valid ones, the snapshot included
	Bytes     int64 // of the file
	TornBytes int64 // behind the records, of one that was never acknowledged
	Slack     int64 // zeros at its end, for records to come
}

// Load reads the manifest of the store in dir and changes nothing. Behind a
// torn tail the facts are those of the last valid record; whoever calls must
// compare their Seq with those that frames of the log name: a frame with a
// higher one means that the tail was not torn but lost (promise 8). Errors are
// fs.ErrNotExist when there is no store, *wal.CorruptError, wal.ErrVersion or
// the disk's. Cost: one read of the file, memory for the largest record.
//
// It works beside a service that appends: a record may come in between the read
// that finds it torn and the one that finds it whole. So damage is looked at
// until it is found twice.
func Load(fs vfs.FS, dir string) (Facts, Report, error) {
	var before error
	for range 10 {
		facts, report, err := load(fs, dir)
		if !errors.Is(err, wal.ErrCorrupt) || before != nil && before.Error() == err.Error() {
			return facts, report, err
		}
		before = err
	}
	return Facts{}, Report{}, before
}

func load(fs vfs.FS, dir string) (Facts, Report, error) {
	f, err := fs.OpenRead(filepath.Join(dir, Name))
	if err != nil {
		return Facts{}, Report{}, fmt.Errorf("manifest: no store to be read in %s: %w", dir, err)
	}
	defer f.Close()
	s := scanner{file: f}
	facts, err := s.load()
	if err != nil {
		return Facts{}, Report{}, err
	}
	return facts, Report{s.records, s.size, s.torn, s.size - s.at - s.torn}, nil
}

// scanner walks the records of a file.
type scanner struct {
	file    vfs.File
	size    int64
	seed    uint32 // CRC of the header
	at      int64  // where the next record begins
	prev    uint32 // CRC of the record before at
	records int
	torn    int64 // bytes from at to the last that is not zero
}

func (s *scanner) load() (facts Facts, err error) {
	if s.size, err = s.file.Size(); err != nil {
		return facts, fmt.Errorf("manifest: size of %s: %w", Name, err)
	}
	if facts.Store, err = s.header(); err != nil {
		return facts, err
	}
	for s.at < s.size {
		rec, payload, err := s.read(s.at, facts.Seq)
		if err != nil {
			return facts, err
		}
		if payload == nil || rec.prev != s.prev || s.records > 0 && rec.seq != facts.Seq+1 {
			break
		}
		if err := s.apply(&facts, rec, payload); errors.Is(err, wal.ErrVersion) {
			return facts, err
		} else if err != nil {
			return facts, s.corrupt(s.at, err.Error())
		}
		s.at += recordBytes + int64(rec.length)
		s.prev = rec.crc
		s.records++
	}
	if s.records == 0 {
		return facts, s.corrupt(headerBytes, "the snapshot is damaged or missing")
	}
	return facts, s.checkTail(facts.Seq)
}

func (s *scanner) header() (id [16]byte, err error) {
	head := make([]byte, headerBytes)
	if s.size < headerBytes {
		return id, s.corrupt(s.size, "the file is shorter than its header")
	}
	if err := s.readAt(head, 0); err != nil {
		return id, err
	}
	s.at = headerBytes
	id, s.seed, err = decodeHeader(head)
	s.prev = s.seed
	if err != nil && !errors.Is(err, wal.ErrVersion) {
		err = s.corrupt(0, err.Error())
	}
	return id, err
}

func (s *scanner) apply(facts *Facts, rec record, payload []byte) error {
	if s.records > 0 {
		edit, err := decodeEdit(payload)
		if err == nil {
			err = facts.apply(edit)
		}
		facts.Seq = rec.seq
		return err
	}
	snapshot, err := decodeSnapshot(payload)
	snapshot.Seq, snapshot.Store = rec.seq, facts.Store
	*facts = snapshot
	return err
}

// read returns the record at offset at, with a nil payload unless it is
// numbered above last and its checksum fits. The error is the disk's.
func (s *scanner) read(at int64, last uint64) (record, []byte, error) {
	if s.size-at < recordBytes {
		return record{}, nil, nil
	}
	head := make([]byte, recordBytes)
	if err := s.readAt(head, at); err != nil {
		return record{}, nil, err
	}
	rec, ok := decodeRecord(head)
	if !ok || rec.seq <= last || int64(rec.length) > s.size-at-recordBytes {
		return rec, nil, nil
	}
	payload := make([]byte, rec.length)
	if err := s.readAt(payload, at+recordBytes); err != nil {
		return rec, nil, err
	}
	if recordCRC(s.seed, head, payload) != rec.crc {
		return rec, nil, nil
	}
	return rec, payload, nil
}

// checkTail measures the torn tail and refuses one in which a record numbered
// above last is valid: appends are synced one by one, so what lies before it
// was durable.
func (s *scanner) checkTail(last uint64) error {
	const window = 64 << 10
	buf := make([]byte, window+len(recordMagic)-1)
	for at := s.at; at < s.size; at += window {
		b := buf[:min(int64(len(buf)), s.size-at)]
		if err := s.readAt(b, at); err != nil {
			return err
		}
		if n := len(bytes.TrimRight(b, "\x00")); n > 0 {
			s.torn = at + int64(n) - s.at
		}
		for i := 0; ; i++ {
			hit := bytes.Index(b[i:], []byte(recordMagic))
			if hit < 0 {
				break
			}
			i += hit
			rec, payload, err := s.read(at+int64(i), last)
			if err != nil {
				return err
			}
			if payload != nil {
				return s.corrupt(s.at, fmt.Sprintf("record %d is damaged or missing, but record %d behind it, at byte %d, is valid", last+1, rec.seq, at+int64(i)))
			}
		}
	}
	return nil
}

func (s *scanner) readAt(b []byte, at int64) error {
	if n, err := s.file.ReadAt(b, at); n < len(b) && err != nil {
		if errors.Is(err, io.EOF) {
			return s.corrupt(at, "the file became shorter while it was read")
		}
		return fmt.Errorf("manifest: reading %s: %w", Name, err)
	}
	return nil
}

func (s *scanner) corrupt(at int64, reason string) error {
	return &wal.CorruptError{File: Name, Offset: at, Reason: reason + "; nothing was changed"}
}
