package demo

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/quire-db/quire/wal"
)

// PageSize of the volumes, in bytes.
const PageSize = wal.DefaultPageSize

// Plan is all that the child has to know, and all that its edits follow from.
type Plan struct {
	Seed    uint64 `json:"seed"`
	Writers int    `json:"writers"`
	Files   []File `json:"files"`
}

// File is one that is imported as a volume.
type File struct {
	Name  string `json:"name"` // of the volume: the path below the tree's root
	Path  string `json:"path"`
	Bytes int64  `json:"bytes"`
}

// Pages that the file takes.
func (f File) Pages() uint64 { return uint64(f.Bytes+PageSize-1) / PageSize }

// ErrNoFiles: there is nothing to import.
var ErrNoFiles = errors.New("demo: no regular file to import")

// FindFiles lists the regular files below root in order of their names, until
// limit bytes are reached. Files that cannot be a volume's name, or not read,
// are passed over.
func FindFiles(ctx context.Context, root string, limit int64) (files []File, err error) {
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if f, ok := fileAt(root, path, d); ok && limit > 0 {
			files = append(files, f)
			limit -= f.Bytes
		}
		return nil
	})
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("%w below %s", ErrNoFiles, root)
	}
	return files, err
}

func fileAt(root, path string, d fs.DirEntry) (File, bool) {
	if !d.Type().IsRegular() {
		return File{}, false
	}
	info, err := d.Info()
	if err != nil {
		return File{}, false
	}
	name, err := filepath.Rel(root, path)
	if err != nil {
		return File{}, false
	}
	if name == "." { // root is a file
		name = filepath.Base(path)
	}
	name = filepath.ToSlash(name)
	return File{Name: name, Path: path, Bytes: info.Size()}, wal.ValidName(name) == nil
}

// eachPage reads the file page by page; the last one is padded with zeros. A
// file whose length has changed is an error.
func (f File) eachPage(do func(no uint64, page []byte) error) error {
	in, err := os.Open(f.Path)
	if err != nil {
		return err
	}
	defer in.Close()
	page := make([]byte, PageSize)
	for no := range f.Pages() {
		clear(page)
		n, err := io.ReadFull(in, page)
		if want := min(f.Bytes-int64(no)*PageSize, PageSize); int64(n) != want {
			return fmt.Errorf("demo: %s has changed its length meanwhile: %w", f.Path, err)
		}
		if err := do(no, page); err != nil {
			return err
		}
	}
	return nil
}

// Edit is one page that a transaction writes.
type Edit struct {
	File int // index in Plan.Files
	Page uint64
}

// Edits of commit number (from 1) of a writer: one to three pages in each of
// one to three files. The page behind a file's end is among them, so volumes
// grow. A later edit of the same page in a transaction wins.
func (p *Plan) Edits(writer, number int) []Edit {
	rng := p.rng(writer, number, 0)
	var edits []Edit
	for range 1 + rng.IntN(3) {
		file := rng.IntN(len(p.Files))
		for range 1 + rng.IntN(3) {
			edits = append(edits, Edit{file, rng.Uint64N(p.Files[file].Pages() + 1)})
		}
	}
	return edits
}

// Fill makes the page that edit i of a commit writes: a line of text that says
// whose it is, and bytes that only it has.
func (p *Plan) Fill(page []byte, writer, number, i int) {
	rng := p.rng(writer, number, 1+i)
	for at := 0; at+8 <= len(page); at += 8 {
		binary.LittleEndian.PutUint64(page[at:], rng.Uint64())
	}
	copy(page, fmt.Sprintf("writer %d, commit %d, edit %d\n", writer, number, i))
}

func (p *Plan) rng(writer, number, use int) *rand.Rand {
	return rand.New(rand.NewPCG(p.Seed+uint64(use), uint64(writer)<<40|uint64(number)))
}

// Names of the files below the demo's directory.
const (
	storeDir    = "store"
	archiveDir  = "archive"
	restoredDir = "restored"
	planFile    = "plan.json"
	triesFile   = "tries"
	acksFile    = "acks"
)

func (p *Plan) save(dir string) error {
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, planFile), b, 0o600)
}

func loadPlan(dir string) (*Plan, error) {
	b, err := os.ReadFile(filepath.Join(dir, planFile))
	if err != nil {
		return nil, err
	}
	p := new(Plan)
	return p, json.Unmarshal(b, p)
}

// message is what the log says of a commit.
func message(writer, number int) string {
	return fmt.Sprintf("demo writer %d commit %d", writer, number)
}

func parseMessage(s string) (c commitID, ok bool) {
	n, err := fmt.Sscanf(s, "demo writer %d commit %d", &c.writer, &c.number)
	return c, n == 2 && err == nil && s == message(c.writer, c.number)
}

// commitID is which commit of which writer.
type commitID struct{ writer, number int }
