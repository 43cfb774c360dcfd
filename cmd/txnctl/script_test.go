package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/uuid"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/pins"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"txnctl": main})
}

// TestScripts runs what a user would type. QUIRE_UPDATE=1 writes the golden
// texts in them anew.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		UpdateScripts:       os.Getenv("QUIRE_UPDATE") != "",
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("QUIRE_DIR", filepath.Join(e.WorkDir, "store"))
			e.Values[service{}] = new(service)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code":   code,
			"random": random,
			"flip":   flip,
			"hold":   hold,
			"commit": commit,
			"demand": demand,
			"trim":   trim,
			"free":   free,
			"killed": killed,

			"subscribe": subscribe,
			"reserve":   reserve,
			"noticed":   noticed,
			"reaches":   reaches,
			"shows":     shows,
			"agekey":    agekey,
			"delete":    deleteVolume,
			"pinned":    pinned,
			"unpinned":  unpinned,

			"secondbefore": secondBefore,
			"flipimage":    flipImage,
			"fliplog":      flipLog,
		},
	})
}

// code N program args... runs a program and expects that exit code.
func code(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	if neg || err != nil {
		ts.Fatalf("usage: code N program args...")
	}
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := err.(interface{ ExitCode() int })
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// random FILE BYTES SEED makes a file.
func random(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	seed, err := strconv.Atoi(args[2])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), noise(n, uint64(seed)), 0o600))
}

// flip FILE OFFSET changes one bit of a file, whose name may be a pattern.
func flip(ts *testscript.TestScript, _ bool, args []string) {
	names, err := filepath.Glob(ts.MkAbs(args[0]))
	ts.Check(err)
	if len(names) == 0 {
		ts.Fatalf("no file %s", args[0])
	}
	off, err := strconv.Atoi(args[1])
	ts.Check(err)
	b, err := os.ReadFile(names[0])
	ts.Check(err)
	b[off] ^= 1
	ts.Check(os.WriteFile(names[0], b, 0o600))
}

// flipImage DIR FILE OFFSET changes one bit of where a closed store has what lies at that
// offset of a file.
func flipImage(ts *testscript.TestScript, _ bool, args []string) {
	b, err := os.ReadFile(ts.MkAbs(args[1]))
	ts.Check(err)
	off, err := strconv.Atoi(args[2])
	ts.Check(err)
	names, err := filepath.Glob(filepath.Join(ts.MkAbs(args[0]), "heap", "*"))
	ts.Check(err)
	for _, name := range names {
		in, err := os.ReadFile(name)
		ts.Check(err)
		if at := bytes.Index(in, b[off:off+256]); at >= 0 {
			flip(ts, false, []string{name, strconv.Itoa(at)})
			return
		}
	}
	ts.Fatalf("it is nowhere in the heap")
}

// flipLog DIR LSN changes one bit of an entry of a closed store's log.
func flipLog(ts *testscript.TestScript, _ bool, args []string) {
	dir := ts.MkAbs(args[0])
	lsn, err := wal.ParseLSN(args[1])
	ts.Check(err)
	facts, _, err := manifest.Load(vfs.OS(), dir)
	ts.Check(err)
	for rec, err := range wal.Records(vfs.OS(), filepath.Join(dir, "wal"), facts.Generations, lsn, lsn) {
		ts.Check(err)
		flip(ts, false, []string{filepath.Join(dir, "wal", rec.Gen.Path()), strconv.FormatInt(rec.Offset+50, 10)})
	}
}

// service is a store that the test's process has open, as a service does.
type service struct {
	*txn.Manager
	pin *pins.Pin // of an archive
}

func serviceOf(ts *testscript.TestScript) *service { return ts.Value(service{}).(*service) }

// hold opens the store of QUIRE_DIR.
func hold(ts *testscript.TestScript, _ bool, _ []string) {
	m, _, err := txn.Open(ts.Getenv("QUIRE_DIR"), txn.Options{})
	ts.Check(err)
	serviceOf(ts).Manager = m
	ts.Defer(func() { m.Close() })
}

// trim writes a checkpoint of it.
func trim(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Check(serviceOf(ts).Checkpoint(context.Background()))
}

// subscribe NAME makes a consumer of it.
func subscribe(ts *testscript.TestScript, _ bool, args []string) {
	_, err := serviceOf(ts).Consumer(context.Background(), args[0])
	ts.Check(err)
}

// reserve OWNER REASON makes a hold of it, for an hour.
func reserve(ts *testscript.TestScript, _ bool, args []string) {
	_, err := serviceOf(ts).Hold(context.Background(), txn.HoldOptions{Owner: args[0], Reason: args[1]})
	ts.Check(err)
}

// noticed N waits until it has told other processes of N transactions and holds,
// which keep something.
func noticed(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		n, _, err := txn.ReadHolds(vfs.OS(), ts.Getenv("QUIRE_DIR"))
		ts.Check(err)
		if n.Total == want && n.KeptBytes > 0 {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("%d holds are told of, want %d", n.Total, want)
		}
	}
}

// reaches DIR LSN waits until another store holds that entry.
func reaches(ts *testscript.TestScript, _ bool, args []string) {
	want, err := wal.ParseLSN(args[1])
	ts.Check(err)
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		v, err := recovery.View(vfs.OS(), ts.MkAbs(args[0]), 0)
		if err == nil {
			at := v.Snapshot().LSN()
			ts.Check(v.Close())
			if at >= want {
				return
			}
		}
		if time.Now().After(end) {
			ts.Fatalf("waited in vain for LSN %d: %v", want, err)
		}
	}
}

// shows FILE PATTERN waits until a line of a file, which somebody writes, matches.
func shows(ts *testscript.TestScript, _ bool, args []string) {
	want, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		b, err := os.ReadFile(ts.MkAbs(args[0]))
		if err == nil && want.Match(b) {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("waited in vain for %q in %q: %v", args[1], b, err)
		}
	}
}

// killed DIR copies it as a kill would leave it: no disk has a manifest that names
// files of the log which are not there yet.
func killed(ts *testscript.TestScript, _ bool, args []string) {
	store, to := ts.Getenv("QUIRE_DIR"), ts.MkAbs(args[0])
	read := func() string {
		b, err := os.ReadFile(filepath.Join(store, manifest.Name))
		ts.Check(err)
		return string(b)
	}
	for before, now := "", read(); before != now; now = read() {
		before = now
		err := errors.Join(os.RemoveAll(to), os.CopyFS(to, os.DirFS(store)))
		if errors.Is(err, fs.ErrNotExist) { // anymore
			before = ""
		} else {
			ts.Check(err)
		}
	}
}

// agekey FILE VAR makes an age identity, and a variable of its recipient.
func agekey(ts *testscript.TestScript, _ bool, args []string) {
	id, err := age.GenerateX25519Identity()
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(id.String()+"\n"), 0o600))
	ts.Setenv(args[1], id.Recipient().String())
}

// delete VOLUME deletes it.
func deleteVolume(ts *testscript.TestScript, _ bool, args []string) {
	_, err := serviceOf(ts).Update(context.Background(), func(tx *txn.Tx) error { return tx.DeleteVolume(args[0]) })
	ts.Check(err)
}

// secondbefore LSN VAR makes a variable of the time one second before an entry.
func secondBefore(ts *testscript.TestScript, _ bool, args []string) {
	lsn, err := wal.ParseLSN(args[0])
	ts.Check(err)
	v, err := recovery.View(vfs.OS(), ts.Getenv("QUIRE_DIR"), lsn)
	ts.Check(err)
	at := time.Unix(0, v.Snapshot().Head.Time).Add(-time.Second)
	ts.Check(v.Close())
	ts.Setenv(args[1], at.UTC().Format(time.RFC3339Nano))
}

// pinned DIR pins the archive in a directory until unpinned.
func pinned(ts *testscript.TestScript, _ bool, args []string) {
	store, err := objects.OpenDir(ts.MkAbs(args[0]), objects.DirOptions{})
	ts.Check(err)
	pin, err := pins.Hold(context.Background(), store, pins.Options{Holder: "somebody at work"})
	ts.Check(err)
	serviceOf(ts).pin = pin
	ts.Defer(func() { _ = pin.Release(context.Background()) })
}

func unpinned(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Check(serviceOf(ts).pin.Release(context.Background()))
}

// free closes it.
func free(ts *testscript.TestScript, _ bool, _ []string) { ts.Check(serviceOf(ts).Close()) }

// commit VOLUME PAGE TEXT writes a page in it.
func commit(ts *testscript.TestScript, _ bool, args []string) {
	no, err := strconv.ParseUint(args[1], 10, 64)
	ts.Check(err)
	_, err = serviceOf(ts).Update(context.Background(), func(tx *txn.Tx) error {
		v, err := tx.Volume(args[0])
		if err != nil {
			return err
		}
		page := make([]byte, v.PageSize())
		copy(page, args[2])
		return v.WritePage(no, page)
	})
	ts.Check(err)
}

// noise is bytes that look random and are the same everywhere.
func noise(n int, seed uint64) []byte {
	b := make([]byte, n)
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	_, _ = rand.NewChaCha8(key).Read(b)
	return b
}

// demand ACTOR SEQ commits a request that changes nothing.
func demand(ts *testscript.TestScript, _ bool, args []string) {
	actor, err := uuid.Parse(args[0])
	ts.Check(err)
	seq, err := strconv.ParseUint(args[1], 10, 64)
	ts.Check(err)
	o := txn.TxOptions{Actor: wal.ActorID(actor), Seq: seq, RequestDigest: []byte("digest")}
	_, err = serviceOf(ts).UpdateWith(context.Background(), o, func(*txn.Tx) error { return nil })
	ts.Check(err)
}
