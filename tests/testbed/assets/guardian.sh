# watch DIR: creates DIR, prints "ready"; when standard input ends, stops DIR's server and removes DIR.
# signal DIR NAME: sends the signal to every process of DIR's server.
# It runs as the server's user and so cannot signal processes of other users.
dir=$2

# A server's processes are those that work in DIR and run a server program; a shell in DIR is not
# signalled. PostgreSQL's children leave its process group and session, and
# overwrite their environment, but each of them stays in the data directory.
processes() {
  set -- $(find /proc/[0-9]*/cwd -maxdepth 0 -lname "$dir*" 2>/dev/null | sed 's/cwd$/exe/')
  [ $# -gt 0 ] || return 0
  find "$@" -maxdepth 0 \( -lname '*/postgres' -o -lname '*/initdb' -o -lname '*/java' \) 2>/dev/null | cut -d/ -f3
}

# Repeated until no new process appears: one may have forked while the list was made.
stop_all() {
  before=
  while pids=$(processes) && [ "$pids" != "$before" ]; do
    kill -STOP $pids 2>/dev/null
    before=$pids
  done
}

kill_all() {
  rounds=0
  while pids=$(processes) && [ -n "$pids" ] && [ $rounds -lt 200 ]; do
    kill -KILL $pids 2>/dev/null
    rounds=$((rounds + 1))
    sleep 0.05
  done
}

# A postmaster that is killed leaves its System V segment behind for good (the machine has a few
# thousand), so it gets a moment to shut down by itself; that is an "immediate" shutdown.
end_postgres() {
  pid_file=$dir/data/postmaster.pid
  [ -f "$pid_file" ] || return 0
  postmaster=$(head -n 1 "$pid_file")
  segment=$(sed -n '7s/.* //p' "$pid_file")
  case " $(processes | tr '\n' ' ')" in
    *" $postmaster "*)
      kill -QUIT "$postmaster" 2>/dev/null
      kill -CONT $(processes) 2>/dev/null
      rounds=0
      while [ -n "$(processes)" ] && [ $rounds -lt 40 ]; do
        rounds=$((rounds + 1))
        sleep 0.05
      done
      ;;
  esac
  kill_all
  if [ -f "$pid_file" ] && [ -n "$segment" ]; then ipcrm -m "$segment" 2>/dev/null; fi
}

case $1 in
  watch)
    trap '' HUP INT QUIT TERM
    mkdir -m 700 "$dir" 2>&1 || exit 1
    echo ready
    exec >/dev/null
    while read -r _; do :; done
    end_postgres
    kill_all
    rounds=0
    until rm -rf "$dir" || [ $rounds -ge 20 ]; do
      rounds=$((rounds + 1))
      sleep 0.1
      kill_all
    done
    ;;
  signal)
    case $3 in
      STOP) stop_all ;;
      KILL) kill_all ;;
      *)
        pids=$(processes)
        [ -z "$pids" ] || kill -"$3" $pids 2>/dev/null
        ;;
    esac
    [ "$3" != KILL ] || [ -z "$(processes)" ]
    ;;
esac
