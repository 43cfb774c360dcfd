package main

import (
	"database/sql"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

const (
	pageSize = 4096
	rowBytes = 4040 // fills a page of the table
	rows     = 16 << 10
	changed  = 8 // rows a transaction
)

// history is what SQLite wrote: the file before, and the pages of each transaction.
type history struct {
	before       []byte
	transactions []map[uint32][]byte // page, from 0, to its bytes
	versions     map[uint32][]version
}

// version of a page: which transaction wrote it, from 1; 0 is before.
type version struct {
	hash uint64
	n    int
}

func open(file string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", "file:"+file+"?_pragma=page_size(4096)&_pragma=journal_mode(wal)&_pragma=synchronous(full)&_pragma=wal_autocheckpoint(0)&_pragma=busy_timeout(5000)")
	if err == nil {
		db.SetMaxOpenConns(1)
	}
	return db, err
}

// fill makes the table, and leaves nothing in SQLite's log.
func fill(db *sql.DB) error {
	if _, err := db.Exec("CREATE TABLE p (no INTEGER PRIMARY KEY, b BLOB)"); err != nil {
		return err
	}
	r := rand.New(rand.NewPCG(1, 1))
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	for no := range rows {
		if _, err := tx.Exec("INSERT INTO p VALUES (?, ?)", no, halfText(r)); err != nil {
			return err
		}
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	_, err = db.Exec("PRAGMA wal_checkpoint(TRUNCATE)")
	return err
}

// change is transaction n, the same whenever it is done.
func change(db *sql.DB, n int) error {
	r := rand.New(rand.NewPCG(2, uint64(n)))
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	for range changed {
		if _, err := tx.Exec("UPDATE p SET b = ? WHERE no = ?", halfText(r), r.IntN(rows)); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// halfText is half random bytes, half words.
func halfText(r *rand.Rand) []byte {
	words := []string{"the ", "page ", "of ", "a ", "volume ", "is ", "kept ", "until ", "nobody ", "reads ", "it ", "any ", "more, ", "whatever ", "was ", "committed.\n"}
	b := make([]byte, rowBytes)
	for i := 0; i+8 <= rowBytes/2; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], r.Uint64())
	}
	for text := b[rowBytes/2:]; len(text) > 0; {
		text = text[copy(text, words[r.IntN(len(words))]):]
	}
	return b
}

// record does the history with nobody watching, and reads what it wrote.
func record(file string) (*history, error) {
	db, err := open(file)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	if err := fill(db); err != nil {
		return nil, err
	}
	h := &history{versions: map[uint32][]version{}}
	if h.before, err = os.ReadFile(file); err != nil {
		return nil, err
	}
	for n := range *commit + *probes {
		if err := change(db, n); err != nil {
			return nil, err
		}
	}
	log, err := os.ReadFile(file + "-wal")
	if err != nil {
		return nil, err
	}
	h.frames(log)
	if len(h.transactions) != *commit+*probes {
		return nil, fmt.Errorf("%d transactions are in SQLite's log", len(h.transactions))
	}
	h.index()
	return h, nil
}

// frames takes SQLite's log apart: a header of 32 bytes, then frames of 24 and a page,
// of which the last one of a transaction says how large the database is.
func (h *history) frames(log []byte) {
	tx := map[uint32][]byte{}
	for log = log[32:]; len(log) >= 24+pageSize; log = log[24+pageSize:] {
		tx[binary.BigEndian.Uint32(log)-1] = log[24 : 24+pageSize]
		if binary.BigEndian.Uint32(log[4:]) != 0 {
			h.transactions = append(h.transactions, tx)
			tx = map[uint32][]byte{}
		}
	}
}

func (h *history) index() {
	for no := uint32(0); int(no) < len(h.before)/pageSize; no++ {
		h.versions[no] = []version{{hashOf(h.before[int(no)*pageSize:][:pageSize]), 0}}
	}
	for i, tx := range h.transactions {
		for no, b := range tx {
			h.versions[no] = append(h.versions[no], version{hashOf(b), i + 1})
		}
	}
}

func hashOf(b []byte) uint64 {
	f := fnv.New64a()
	_, _ = f.Write(b)
	return f.Sum64()
}

// judge says which state a restored file holds.
func (h *history) judge(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	pages := min(len(b), len(h.before)) / pageSize // Litestream adds tables of its own
	found, newest, wrong := make([]int, pages), 0, 0
	for no := 1; no < len(found); no++ {
		found[no] = -1
		hash := hashOf(b[no*pageSize:][:pageSize])
		for _, v := range h.versions[uint32(no)] {
			if v.hash == hash {
				found[no], newest = v.n, max(newest, v.n)
			}
		}
	}
	for no := 1; no < len(found); no++ {
		want := 0
		for _, v := range h.versions[uint32(no)] {
			if v.n <= newest {
				want = v.n
			}
		}
		if found[no] != want {
			wrong++
		}
	}
	text := fmt.Sprintf("transaction %d of %d", newest, len(h.transactions))
	if len(b) < len(h.before) {
		text += fmt.Sprintf(", %d of %d bytes", len(b), len(h.before))
	}
	if wrong > 0 {
		text += fmt.Sprintf(", %d pages wrong", wrong)
	}
	return text
}

func sizeOf(dir string) (bytes int64, files int, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			bytes += info.Size()
			files++
		}
		return err
	})
	return bytes, files, err
}
