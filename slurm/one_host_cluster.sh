#!/usr/bin/env bash
# A real SLURM cluster of several nodes on this one machine, for trying things out before using a larger cluster.
#
#   slurm/one_host_cluster.sh start [OPTIONS]     start it and print the line that lets sbatch and squeue find it
#   eval "$(slurm/one_host_cluster.sh start)"     the usual way to call it
#   slurm/one_host_cluster.sh status [OPTIONS]    show what is running; exit code 1 if anything is not
#   slurm/one_host_cluster.sh stop [OPTIONS]      end all jobs and everything that `start` started
#
# Options, with their defaults:
#   --folder=/tmp/one_host_cluster   holds configuration, keys, state and logs; keep it short because of socket names
#   --nodes=2        named n1, n2, ...
#   --gpus=2         per node; jobs can allocate them, but they are copies of /dev/null
#   --cpus=4         per node, whatever this machine has
#   --port=17000     first port; this one, the next three, and port+11 ... port+10+nodes must be free
#   --grace=0        GraceTime of partition `low`: seconds between the notice of a preemption and its signal TERM
#   --kill-wait=5    seconds between TERM and KILL
#   --accounting     with slurmdbd and MariaDB, so that sacct works; takes about ten seconds longer
# `stop` and `status` need only --folder.
#
# Partitions: `low` (default; its jobs are requeued when `high` needs their resources) and `high`.
# Must be run as root. Does not need systemd and touches nothing outside its folder.
# Limitations: no memory limits (there are no cgroups), and the names n1, n2 do not resolve to addresses.
set -uo pipefail

folder=/tmp/one_host_cluster nodes=2 gpus=2 cpus=4 port=17000 grace=0 kill_wait=5 accounting=no
host=${HOSTNAME%%.*}

main() {
  local action=${1:-}
  [ $# = 0 ] || shift
  read_options "$@"
  export SLURM_CONF=$folder/slurm.conf
  case $action in
    start) start ;;
    stop) stop ;;
    status) status ;;
    *) fail "usage: $0 start|stop|status [--folder=DIR] [...]; see the top of this file" ;;
  esac
}

read_options() {
  local option
  for option in "$@"; do
    case $option in
      --folder=*) folder=${option#*=} ;;
      --nodes=*) nodes=${option#*=} ;;
      --gpus=*) gpus=${option#*=} ;;
      --cpus=*) cpus=${option#*=} ;;
      --port=*) port=${option#*=} ;;
      --grace=*) grace=${option#*=} ;;
      --kill-wait=*) kill_wait=${option#*=} ;;
      --accounting) accounting=yes ;;
      *) fail "unknown option $option; see the top of this file" ;;
    esac
  done
}

fail() {
  echo "error: $1" >&2
  exit 2
}

start() {
  check_tools
  ! alive "$folder/run/slurmctld.pid" || fail "a cluster is already running in $folder; stop it first"
  mkdir -p "$folder"/{munge,state,log,spool,run}
  # The owner of the keys and pid files in it controls what runs as root here.
  [ -O "$folder" ] || fail "$folder belongs to another user; choose another folder with --folder=DIR"
  write_key
  write_configuration
  write_gpus
  # The daemons must not keep the caller's terminal or pipe open.
  { start_daemons || { stop; exit 1; }; } </dev/null >>"$folder/log/start.log" 2>&1 || {
    echo "error: the cluster did not start; see $folder/log" >&2
    exit 1
  }
  echo "export SLURM_CONF=$SLURM_CONF"
}

check_tools() {
  local wanted=(sbatch slurmctld slurmd munged) missing=() tool packages="slurm-wlm munge"
  if [ "$accounting" = yes ]; then
    wanted+=(slurmdbd mariadbd mariadb-install-db)
    packages+=" slurmdbd mariadb-server"
  fi
  for tool in "${wanted[@]}"; do
    command -v "$tool" >/dev/null || missing+=("$tool")
  done
  [ ${#missing[@]} = 0 ] || fail "not found: ${missing[*]}; install with: apt-get install $packages"
  [ "$(id -u)" = 0 ] || fail "must be run as root, because slurmd starts jobs for other users"
}

write_key() {
  [ -s "$folder/munge/munge.key" ] && return
  (umask 077 && head -c 128 /dev/urandom >"$folder/munge/munge.key")
}

write_configuration() {
  local node
  # config_overrides: nodes may have more CPUs than this machine.
  # linuxproc, task/none, CR_CPU: the only ones that work without cgroups.
  # cred_expire: a requeued job waits this long, 2 minutes by default; 5 seconds is the minimum.
  # preempt_send_user_signal: the job's --signal is also sent on preemption, not only before the time limit.
  cat >"$SLURM_CONF" <<END
ClusterName=one_host
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmdPort=$((port + 1))
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge/munge.sock,cred_expire=5
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool/%n
SlurmctldPidFile=$folder/run/slurmctld.pid
SlurmdPidFile=$folder/run/slurmd.%n.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/linux
MpiDefault=none
ReturnToService=2
RebootProgram=/bin/true
MailProg=/bin/true
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=1,sched_min_interval=100000
PriorityType=priority/basic
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
GresTypes=gpu
JobRequeue=1
KillWait=$kill_wait
MaxArraySize=1001
SlurmctldTimeout=30
SlurmdTimeout=30
END
  accounting_lines >>"$SLURM_CONF"
  for node in $(seq "$nodes"); do
    echo "NodeName=n$node NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 10 + node))" \
      "CPUs=$cpus RealMemory=8000 Gres=gpu:$gpus State=UNKNOWN"
  done >>"$SLURM_CONF"
  cat >>"$SLURM_CONF" <<END
PartitionName=low Nodes=ALL Default=YES DefaultTime=60 PriorityTier=1 PreemptMode=REQUEUE GraceTime=$grace State=UP
PartitionName=high Nodes=ALL DefaultTime=60 PriorityTier=10 PreemptMode=OFF State=UP
END
}

accounting_lines() {
  if [ "$accounting" = no ]; then
    echo "AccountingStorageType=accounting_storage/none"
    return
  fi
  # Without the socket as password, clients ask the machine-wide munge.
  cat <<END
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$((port + 2))
AccountingStoragePass=$folder/munge/munge.sock
AccountingStorageTRES=gres/gpu
END
}

write_gpus() {
  local gpu file
  : >"$folder/gres.conf"
  for gpu in $(seq 0 $((gpus - 1))); do
    file=$folder/run/gpu$gpu
    [ -e "$file" ] || mknod "$file" c 1 3 || fail "cannot create device files in $folder; try --gpus=0"
    echo "NodeName=n[1-$nodes] Name=gpu File=$file" >>"$folder/gres.conf"
  done
}

start_daemons() {
  local node
  # One thread is too few: clients of several nodes ask at the same time and time out.
  munged --force --num-threads=10 --key-file="$folder/munge/munge.key" --socket="$folder/munge/munge.sock" \
    --pid-file="$folder/run/munged.pid" --log-file="$folder/log/munged.log" --seed-file="$folder/munge/seed" || return 1
  [ "$accounting" = no ] || start_accounting || return 1
  slurmctld -f "$SLURM_CONF" || return 1
  for node in $(seq "$nodes"); do
    slurmd -f "$SLURM_CONF" -N "n$node" || return 1
  done
  wait_for 300 all_nodes_idle
}

all_nodes_idle() {
  [ "$(sinfo --noheader --Node --partition=low --states=idle --format=%N | wc -l)" = "$nodes" ]
}

start_accounting() {
  local data=$folder/mariadb
  local client=(mariadb --no-defaults --socket="$data/socket" --user=root)
  # As root, because other users may lack access to the parent folder.
  [ -d "$data/mysql" ] || mariadb-install-db --no-defaults --user=root --datadir="$data" --skip-test-db \
    --auth-root-authentication-method=normal || return 1
  setsid mariadbd --no-defaults --user=root --datadir="$data" --socket="$data/socket" \
    --pid-file="$folder/run/mariadbd.pid" --bind-address=127.0.0.1 --port=$((port + 3)) \
    --innodb-buffer-pool-size=64M --innodb-lock-wait-timeout=900 --innodb-log-file-size=16M &
  wait_for 300 "${client[@]}" --execute="select 1" || return 1
  "${client[@]}" --execute="create database if not exists slurm;
    create user if not exists slurm@'127.0.0.1' identified by 'slurm';
    create user if not exists slurm@localhost identified by 'slurm';
    grant all on slurm.* to slurm@'127.0.0.1'; grant all on slurm.* to slurm@localhost" || return 1
  (umask 077 && cat >"$folder/slurmdbd.conf") <<END
AuthType=auth/munge
AuthInfo=socket=$folder/munge/munge.sock
DbdHost=$host
DbdAddr=127.0.0.1
DbdPort=$((port + 2))
SlurmUser=root
LogFile=$folder/log/slurmdbd.log
PidFile=$folder/run/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$((port + 3))
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm
END
  # It reads slurmdbd.conf next to slurm.conf.
  slurmdbd || return 1
  wait_for 300 sacctmgr --noheader show cluster || return 1
  # On a second start they exist already, which sacctmgr reports as an error.
  sacctmgr --immediate --quiet add cluster one_host
  sacctmgr --immediate --quiet add account one_host cluster=one_host
  sacctmgr --immediate --quiet add user root account=one_host
  return 0
}

stop() {
  local file
  if alive "$folder/run/slurmctld.pid"; then
    end_jobs
  fi
  # The nodes first, then the daemons they talk to.
  for file in "$folder"/run/slurmd.*.pid "$folder"/run/{slurmctld,slurmdbd,mariadbd,munged}.pid; do
    end_process "$file"
  done
}

end_jobs() {
  # KILL both steps and scripts: a script that ignores TERM would outlive its slurmd.
  timeout 20 scancel --user=root --state=PENDING
  timeout 20 scancel --user=root --full --signal=KILL
  timeout 20 scancel --user=root
  wait_for 100 queue_is_empty
} >/dev/null 2>&1

queue_is_empty() {
  local queue
  queue=$(timeout 10 squeue --noheader) && [ -z "$queue" ]
}

# A zombie counts as dead: if no init reaps it quickly, `kill -0` reports it as alive.
alive() {
  local id state
  [ -s "$1" ] || return 1
  id=$(<"$1")
  state=$(sed 's/.*) //; s/ .*//' "/proc/$id/stat" 2>/dev/null)
  [ -n "$state" ] && [ "$state" != Z ]
}

dead() {
  ! alive "$1"
}

end_process() {
  if alive "$1"; then
    kill "$(<"$1")"
    wait_for 100 dead "$1" || kill -KILL "$(<"$1")"
  fi
  rm -f "$1"
}

status() {
  local file code=0
  [ -s "$folder/run/slurmctld.pid" ] || { echo "no cluster is running in $folder"; exit 1; }
  for file in "$folder"/run/*.pid; do
    if alive "$file"; then
      echo "$(basename "$file" .pid) is running"
    else
      echo "$(basename "$file" .pid) is not running"
      code=1
    fi
  done
  [ $code = 0 ] && timeout 20 sinfo --Node --format="%N %T %C %G %P" && timeout 20 squeue || code=1
  exit $code
}

# wait_for TENTHS COMMAND...: wait until the command succeeds; fail if it has not after this many tenths of a second.
wait_for() {
  local tenths=$1
  shift
  while ((tenths-- > 0)); do
    "$@" >/dev/null 2>&1 && return 0
    sleep 0.1
  done
  echo "timed out waiting for: $*" >&2
  return 1
}

main "$@"
