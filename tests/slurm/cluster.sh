#!/usr/bin/env bash
# A throw-away SLURM cluster on this one machine, for the tests: real daemons, pretended nodes and GPUs.
#
#   cluster.sh lacks              what is missing here, in a line; exit status 0 if nothing is
#   cluster.sh install            install Debian's packages (10 MB)
#   cluster.sh up DIR PORT        start it; all its files lie in DIR, its ports are PORT to PORT+6
#   cluster.sh down DIR           end exactly what `up` started there
#
# After `up`: export SLURM_CONF=DIR/etc/slurm.conf. Partitions: main (default), and low, whose jobs main preempts
# after 20 s. Debian or Ubuntu, root, no systemd. CPUs are counted and not pinned; GPUs are links to /dev/null.
set -euo pipefail

NODES=4 CPUS=8 GPUS=4 MEMORY_MB=32000
PACKAGES=(slurmctld slurmd slurm-client munge slurmdbd mariadb-server-core)
COMMANDS=(slurmctld slurmd sbatch munged slurmdbd mariadbd)

say() { echo "cluster.sh: $*" >&2; }

lacks() {
    local missing=() command
    [ "$(id -u)" = 0 ] || { echo "real SLURM needs root (slurmd, namespaces)"; return 1; }
    for command in "${COMMANDS[@]}"; do
        [ -x "$(command -v "$command")" ] || missing+=("$command")
    done
    [ ${#missing[@]} = 0 ] || {
        echo "no ${missing[*]} here: apt-get install --no-install-recommends ${PACKAGES[*]}"
        return 1
    }
    unshare --mount --uts --pid --fork true 2>/dev/null || {
        echo "this container may not make namespaces (unshare fails): real SLURM needs them"
        return 1
    }
}

install() {
    apt-get update -q
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${PACKAGES[@]}"
}

# ---- up ----------------------------------------------------------------------------------------------------

wait_for() { # SECONDS COMMAND...
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.05
    done
}
opened() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
remember() { echo "$1 $2 $(awk '{print $22}' "/proc/$2/stat")" >>"$DIR/run/pids"; } # name, pid, start time

failed() {
    say "cannot start: $1"
    tail -n 12 "$DIR"/log/* >&2 || true
    down
    exit 1
}

write_config() {
    local gpu node version
    mkdir -p "$DIR"/{etc,state,spool,log,run,dev,sql}
    chmod 755 "$DIR"
    dd if=/dev/urandom bs=1 count=1024 of="$DIR/etc/munge.key" status=none
    chmod 600 "$DIR/etc/munge.key"
    # SLURM takes GPUs only with the names of character devices
    for ((gpu = 0; gpu < GPUS; gpu++)); do ln -s /dev/null "$DIR/dev/nvidia$gpu"; done
    echo "Name=gpu File=$DIR/dev/nvidia[0-$((GPUS - 1))]" >"$DIR/etc/gres.conf"
    # every node is 127.0.0.1 on a port of its own: with other addresses srun and slurmd miss each other
    { echo "127.0.0.1 localhost ctl"; for ((node = 1; node <= NODES; node++)); do echo "127.0.0.1 n$node"; done; } \
        >"$DIR/etc/hosts"
    # nothing here uses cgroups, but slurmd loads a plugin all the same, and version 2 wants systemd
    version=$(slurmctld -V | grep -oE '[0-9]+\.[0-9]+' | head -1)
    if [ "${version/./}" -ge 2405 ]; then echo CgroupPlugin=disabled; else echo CgroupPlugin=cgroup/v1; fi \
        >"$DIR/etc/cgroup.conf"
    cat >"$DIR/etc/slurm.conf" <<EOF
ClusterName=tests
SlurmctldHost=ctl(127.0.0.1)
SlurmctldPort=$PORT
SlurmUser=root
SlurmdUser=root
# ports of jobs follow from their ids: clusters side by side must not share them
FirstJobId=$((PORT % 1000 * 1000 + 1))
AuthType=auth/munge
AuthInfo=socket=$DIR/run/munge.sock
CredType=cred/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation=$DIR/state
SlurmdSpoolDir=$DIR/spool/%n
SlurmctldPidFile=$DIR/run/slurmctld.pid
SlurmdPidFile=$DIR/run/slurmd.%n.pid
SlurmctldLogFile=$DIR/log/slurmctld.log
SlurmdLogFile=$DIR/log/slurmd.%n.log
MailProg=/bin/true
MpiDefault=none
SwitchType=switch/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
SlurmdParameters=config_overrides
# USR2 is sent at preemption too, and not only before the time limit
SlurmctldParameters=preempt_send_user_signal
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
# quick answers
ReturnToService=2
SlurmdTimeout=10
InactiveLimit=0
KillWait=30
MinJobAge=600
CompleteWait=0
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1,sched_min_interval=10000
PriorityType=priority/basic
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=1000
GresTypes=gpu
# without accounting nobody learns how a job ended that left no result
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$((PORT + 1))
AccountingStoragePass=$DIR/run/munge.sock
# limits of users hold, such as MaxSubmitJobs; there is none before a test sets it
AccountingStorageEnforce=limits
AccountingStorageTRES=gres/gpu
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
PartitionName=low Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=20 PreemptMode=REQUEUE
EOF
    for ((node = 1; node <= NODES; node++)); do
        echo "NodeName=n$node NodeAddr=127.0.0.1 NodeHostname=n$node Port=$((PORT + 2 + node)) CPUs=$CPUS" \
            "Boards=1 SocketsPerBoard=1 CoresPerSocket=$CPUS ThreadsPerCore=1 RealMemory=$MEMORY_MB Gres=gpu:$GPUS"
    done >>"$DIR/etc/slurm.conf"
    cat >"$DIR/etc/slurmdbd.conf" <<EOF
AuthType=auth/munge
AuthInfo=socket=$DIR/run/munge.sock
DbdHost=$(hostname -s)
DbdAddr=127.0.0.1
DbdPort=$((PORT + 1))
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$((PORT + 2))
StorageUser=root
StorageLoc=slurm_acct
PidFile=$DIR/run/slurmdbd.pid
LogFile=$DIR/log/slurmdbd.log
EOF
    chmod 600 "$DIR/etc/slurmdbd.conf"
}

start_munge() {
    munged --key-file="$DIR/etc/munge.key" --socket="$DIR/run/munge.sock" --pid-file="$DIR/run/munged.pid" \
        --log-file="$DIR/log/munged.log" --seed-file="$DIR/state/munged.seed" || failed munged
    remember munged "$(cat "$DIR/run/munged.pid")"
}

start_accounting() {
    local tables options
    # as mariadb-install-db does it, which is in a larger package
    tables=$(ls /usr/share/{mysql/mysql,mariadb/mariadb}_system_tables.sql 2>/dev/null | head -1) || true
    options=(--no-defaults --user=root --datadir="$DIR/sql" --innodb-flush-log-at-trx-commit=0)
    {
        printf '%s;\n' "create database mysql" "use mysql" "set @auth_root_socket=NULL" "set @skip_auth_anonymous=1"
        cat "$tables" "${tables%.sql}_data.sql"
    } | mariadbd "${options[@]}" --bootstrap >"$DIR/log/sql-install.log" 2>&1 || failed "mariadbd --bootstrap"
    setsid mariadbd "${options[@]}" --socket="$DIR/run/sql.sock" --pid-file="$DIR/run/sql.pid" \
        --bind-address=127.0.0.1 --port=$((PORT + 2)) --skip-name-resolve --innodb-buffer-pool-size=32M \
        --innodb-lock-wait-timeout=900 >"$DIR/log/sql.log" 2>&1 </dev/null &
    remember mariadbd $!
    wait_for 20 opened $((PORT + 2)) || failed "mariadbd opens no port"
    setsid slurmdbd -D </dev/null >"$DIR/log/slurmdbd.out" 2>&1 &
    remember slurmdbd $!
    wait_for 20 opened $((PORT + 1)) || failed "slurmdbd opens no port"
    wait_for 10 sacctmgr -n -i add cluster tests || failed "sacctmgr add cluster"
}

start_slurm() {
    local node own
    # of its own: host names, and /etc/slurm, so that jobs find the cluster without SLURM_CONF too
    own="mount --bind '$DIR/etc/hosts' /etc/hosts"
    setsid unshare --mount --uts --propagation private bash -c "hostname ctl && $own && exec slurmctld -D" \
        </dev/null >"$DIR/log/slurmctld.out" 2>&1 &
    remember slurmctld $!
    for ((node = 1; node <= NODES; node++)); do
        mkdir -p "$DIR/spool/n$node"
        # a space of process ids each: killing its first process takes the whole "node" down
        setsid unshare --mount --uts --pid --fork --kill-child --mount-proc --propagation private \
            bash -c "hostname n$node && $own && mount --bind '$DIR/etc' /etc/slurm && {
                slurmd -D -N n$node & trap 'kill %1' TERM; wait %1; wait %1; }" \
            </dev/null >"$DIR/log/slurmd.n$node.out" 2>&1 &
        remember "slurmd-n$node" $!
    done
    # SLURM lets a requeued job wait for two minutes; after 3 s here (sooner: "Job credential revoked")
    setsid bash -c 'while sleep 1; do
        squeue -h -r -t PD -o "%i %V %r" 2>/dev/null | while read -r id since why; do
            [ "$why" = BeginTime ] && [ $(($(date +%s) - $(date -d "$since" +%s))) -ge 3 ] || continue
            scontrol -o show job "$id" 2>/dev/null | grep -q " Restarts=0 " ||
                scontrol update JobId="$id" StartTime=now
        done
    done' </dev/null >"$DIR/log/requeue.out" 2>&1 &
    remember requeuer $!
}

all_idle() { [ "$(sinfo -h -N -p main -t idle -o %N | sort -u | wc -l)" = "$NODES" ]; }

up() {
    local lack
    lack=$(lacks) || { say "$lack"; exit 1; }
    down
    rm -rf "$DIR"
    write_config
    trap 'failed "line $LINENO: $BASH_COMMAND"' ERR
    start_munge
    start_accounting
    start_slurm
    wait_for 40 all_idle || failed "the nodes do not come up"
}

# ---- down --------------------------------------------------------------------------------------------------

alive() { # PID START_TIME: the process that was started, and no later one of the same number
    [ -r "/proc/$1/stat" ] && [ "$(awk '{print $22}' "/proc/$1/stat" 2>/dev/null)" = "$2" ] &&
        [ "$(awk '{print $3}' "/proc/$1/stat" 2>/dev/null)" != Z ]
}

stop() { # NAME SIGNAL SECONDS
    local name pid start left end=$((SECONDS + $3))
    while read -r name pid start; do
        # shellcheck disable=SC2053
        [[ $name == $1 ]] && alive "$pid" "$start" && kill "-$2" "$pid" 2>/dev/null
    done <"$DIR/run/pids"
    while [ $SECONDS -le $end ]; do
        left=
        while read -r name pid start; do
            # shellcheck disable=SC2053
            [[ $name == $1 ]] && alive "$pid" "$start" && left=1
        done <"$DIR/run/pids"
        [ -n "$left" ] || return 0
        sleep 0.05
    done
    return 1
}

down() {
    trap - ERR
    set +e
    if [ -e "$DIR/run/pids" ]; then
        stop 'slurmd-*' KILL 5 # every process of their jobs with them
        local daemon
        for daemon in requeuer slurmctld slurmdbd mariadbd munged; do
            stop $daemon TERM 10 || stop $daemon KILL 3
        done
        rm -f "$DIR/run/pids"
    fi
    set -e
}

DIR=${2:-}
PORT=${3:-}
export SLURM_CONF=$DIR/etc/slurm.conf
case "${1:-}:$#" in
lacks:1) lacks ;;
install:1) install ;;
up:3) up ;;
down:2) down ;;
*) sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
